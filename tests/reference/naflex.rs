//! What SigLIP 2 NaFlex does with pictures before its tower: grids, patches, and slots without a picture.

use hyperslab::error::ItemErrorKind;
use hyperslab::model::Background;
use hyperslab::model::siglip2::{Preprocess, target};
use hyperslab::model::{Item, Modality, Prepared};

use super::{expected, fixtures, inputs, largest_difference, model};

fn preprocess(max_num_patches: Option<usize>) -> Preprocess {
    Preprocess::load(&fixtures().join("naflex"), 8, max_num_patches, Background::Drop).expect("supported")
}

fn picture(name: &str) -> Vec<u8> {
    std::fs::read(fixtures().join("pictures").join(name)).expect("read")
}

#[test]
fn grids_equal_the_reference() {
    let sizes = &expected("naflex/sizes.safetensors")["sizes"];
    assert!(sizes.rows().count() > 500);
    for row in sizes.rows() {
        let row: Vec<usize> = row.iter().map(|&value| value as usize).collect();
        let [height, width, patch, most, rows, columns] = row[..] else { panic!("six columns") };
        let expected = (rows * columns <= most).then_some((rows, columns));
        assert_eq!(target(height, width, patch, most), expected, "{height} x {width}, {most} of {patch}");
    }
}

#[test]
fn patches_and_their_padding_equal_the_reference() {
    let expected = expected("naflex/expected.safetensors");
    let (pixels, grids) = (&expected["image.pixels"], &expected["image.grids"]);
    assert_eq!(pixels.shape[1..], [24, 192]);
    let preprocess = preprocess(None);
    let references = pixels.values.chunks(24 * 192).zip(grids.rows());
    let mut shapes = std::collections::BTreeSet::new();
    for (name, (reference, shape)) in inputs().naflex_pictures.iter().zip(references) {
        let (patches, grid) = preprocess.patches(&picture(name)).expect("decodes");
        let shape: Vec<i64> = shape.iter().map(|&side| side as i64).collect();
        assert_eq!([grid.rows, grid.columns], *shape, "{name}");
        shapes.insert((grid.rows, grid.columns));
        let x = preprocess.normalise(&patches.unsqueeze(0), &[grid.patches()]).expect("computes");
        let found = Vec::<f64>::try_from(x.flatten(0, -1)).expect("values");
        assert!(found == reference, "{name}: off by {}", largest_difference(&found, reference));
    }
    assert!(shapes.len() >= 5, "pictures of several aspects: {shapes:?}");
}

#[test]
fn the_number_of_patches_may_be_set() {
    let (patches, grid) = preprocess(Some(7)).patches(&picture("rgb8.png")).expect("decodes");
    assert_eq!((patches.size(), grid.patches()), (vec![7, 192], 6));
    let provenance = preprocess(Some(7)).provenance();
    assert_eq!(provenance["max_num_patches"], 7);
    assert!(preprocess(Some(7)) != preprocess(None) && preprocess(Some(24)) == preprocess(None));
}

#[test]
fn broken_pictures_are_failures_of_the_item() {
    let preprocess = preprocess(None);
    for (name, kind) in [
        ("broken/half.png", ItemErrorKind::BrokenPicture),
        ("broken/empty.png", ItemErrorKind::BrokenPicture),
        ("too-large/bomb.png", ItemErrorKind::TooLarge),
    ] {
        assert_eq!(preprocess.patches(&picture(name)).expect_err(name).kind, kind);
    }
}

/// The same picture has the same bits whatever its neighbours are, in its slot.
#[test]
fn neighbours_of_other_grids_change_nothing() {
    let mut model = model("naflex", Modality::Image);
    let prepare = |name: &str| -> Option<Prepared> {
        Some(model.preparer.prepare(Item::View(&picture(name))).expect("sound"))
    };
    let batches = [
        ["rgb8.png", "one-row.png", "one-pixel.png"].map(prepare),
        ["rgb8.png", "downscaled.png", "one-column.png"].map(prepare),
        [prepare("rgb8.png"), None, None],
    ];
    let [first, others @ ..] = batches.map(|batch| model.embedder.embed(&batch).expect("embeds"));
    for other in others {
        assert_eq!(first.row(0), other.row(0));
        assert!(first.row(1) != other.row(1));
    }
}

#[test]
fn a_batch_of_empty_slots_is_finite() {
    let mut model = model("naflex", Modality::Image);
    let rows = model.embedder.embed(&[None, None]).expect("embeds");
    assert!(rows.iter().all(|value| value.is_finite()));
}
