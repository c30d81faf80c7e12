//! Picture files: they decode to as many pixels as their size says or not at all, `plan` sees the same size, and
//! what decodes every family can prepare. Decoders may panic, where the program is prepared for it.
#![no_main]

use std::path::Path;
use std::sync::{Arc, LazyLock};

use hyperslab::comm::shielded;
use hyperslab::model::picture::{Rgb, decode, look};
use hyperslab::model::{Background, Item, Modality, Options, Preparer, device, preprocessing};
use hyperslab_fuzz::spare_foreign_panics;
use libfuzzer_sys::fuzz_target;

/// Larger pictures are left to the decoder alone, and the largest out: they take long and tell nothing new.
const PREPARED_PIXELS_MAX: usize = 1 << 14;
const PIXELS_MAX: usize = 1 << 20;

const BACKGROUNDS: [Background; 3] = [Background::Drop, Background::Qwen, Background::Colour([1, 2, 3])];

static PREPARERS: LazyLock<Vec<Arc<dyn Preparer>>> = LazyLock::new(|| {
    device::set_model_threads(1);
    spare_foreign_panics();
    let fixtures = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures"));
    let load = |name: &str| preprocessing(&fixtures.join(name), Modality::Image, &Options::default());
    ["siglip", "naflex", "qwen3-vl"].map(|name| load(name).expect("a fixture").preparer).into()
});

fuzz_target!(|data: &[u8]| {
    if imagesize::blob_size(data).is_ok_and(|size| size.width.saturating_mul(size.height) > PIXELS_MAX) {
        return;
    }
    LazyLock::force(&PREPARERS);
    let looked = shielded(|| look(data));
    let Ok(looked) = looked else { return };
    let decoded = BACKGROUNDS.map(|background| decode(data, background));
    for decoded in &decoded {
        assert_eq!(decoded.is_ok(), looked.is_ok(), "{:?}", decoded.as_ref().err());
        let (Ok(Rgb { width, height, data }), Ok(looked)) = (decoded, &looked) else { continue };
        assert_eq!(data.len(), width * height * 3);
        assert_eq!((looked.width, looked.height), (*width, *height));
    }
    let [Ok(picture), ..] = decoded else { return };
    if picture.width * picture.height <= PREPARED_PIXELS_MAX {
        for preparer in &*PREPARERS {
            // An item that is refused is data: a picture that is too long and narrow is, for some.
            let _ = shielded(|| preparer.prepare(Item::View(data)));
        }
    }
});
