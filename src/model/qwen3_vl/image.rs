//! Several pictures at once through both parts: tokens of pictures take their places among those of words.

use std::collections::BTreeMap;

use tch::{Kind, TchError, Tensor};

use super::config::Config;
use super::places::{interleaved, of_pairs};
use super::preprocess::Preprocess;
use super::prompt::Sequence;
use super::vision::{Features, VisionTower};
use crate::error::Result;
use crate::model::Prepared;
use crate::model::grid::Grid;
use crate::model::layers::{Computed, Stages};
use crate::model::qwen3::decoder::{Decoder, padded};
use crate::model::qwen3::rope::Rope;
use crate::model::qwen3::text::smaller_by_tokens;
use crate::model::tower::{Tower, tensors};
use crate::model::weights::{Loader, torch};

/// Where the parts of an item lie in [`Prepared`]; the patches of its pictures follow.
const IDS: usize = 0;
const PLACES: usize = 1;
const GRIDS: usize = 2;
const PICTURES: usize = 3;

/// Both parts of the model as a tower of sets of pictures.
pub struct ImageTower {
    vision: VisionTower,
    decoder: Decoder,
    rope: Rope,
    /// Which of time, row and column each pair of a head's components turns with.
    dimensions: Tensor,
    preprocess: Preprocess,
    image_token: i64,
    dim: usize,
    kind: Kind,
    device: tch::Device,
}

impl ImageTower {
    /// Reads both parts, whose tensors' names begin with `vision` and `decoder`.
    ///
    /// # Errors
    /// As [`Loader::tensor`].
    pub fn load(
        loader: &Loader<'_>,
        [vision, decoder]: [&str; 2],
        config: &Config,
        preprocess: Preprocess,
        (kind, device): (Kind, tch::Device),
    ) -> Result<Self> {
        let failed = |error: TchError| torch("rotary positions", &error);
        let rope = Rope::new(config.text.rope_theta, config.text.head_dim, kind, device).map_err(failed)?;
        let dimensions = Tensor::f_from_slice(&interleaved(config.mrope_section, rope.pairs()))
            .and_then(|dimensions| dimensions.f_to_device(device))
            .map_err(failed)?;
        Ok(Self {
            vision: VisionTower::load(loader, vision, &config.vision)?,
            decoder: Decoder::load(loader, decoder, &config.text)?,
            rope,
            dimensions,
            preprocess,
            image_token: config.image_token_id,
            dim: config.text.hidden_size,
            kind,
            device,
        })
    }

    /// All pictures of a batch as tokens of the decoder, (tokens, D) in their order; those of one grid go
    /// through the tower together.
    fn see(
        &self,
        pictures: &[(Grid, &Tensor)],
        stages: &mut Stages<'_>,
    ) -> std::result::Result<Features, TchError> {
        let mut of_grids: BTreeMap<(i64, i64), Vec<usize>> = BTreeMap::new();
        for (place, (grid, _)) in pictures.iter().enumerate() {
            of_grids.entry((grid.rows, grid.columns)).or_default().push(place);
        }
        let mut seen: Vec<Option<(Tensor, Vec<Tensor>)>> = pictures.iter().map(|_| None).collect();
        for ((rows, columns), places) in of_grids {
            let patches: Vec<&Tensor> = places.iter().map(|&place| pictures[place].1).collect();
            let patches = Tensor::f_stack(&patches, 0)?.f_to_device(self.device)?; // (N, T, patch)
            let (count, tokens, patch) = patches.size3()?;
            let pixels = self.preprocess.normalise(&patches.f_view([count * tokens, patch])?)?;
            let pixels = pixels.f_to_kind(self.kind)?.f_view([count, tokens, patch])?;
            stages("pixels", &pixels);
            let features = self.vision.forward(&pixels, Grid { rows, columns }, stages)?;
            for (i, place) in (0..).zip(places) {
                let deepstack = features.deepstack.iter().map(|tokens| tokens.f_select(0, i));
                let deepstack = deepstack.collect::<std::result::Result<_, _>>()?;
                seen[place] = Some((features.tokens.f_select(0, i)?, deepstack));
            }
        }
        in_order(seen)
    }
}

/// Tokens picture by picture, one after the other.
fn in_order(seen: Vec<Option<(Tensor, Vec<Tensor>)>>) -> std::result::Result<Features, TchError> {
    let (tokens, deepstack): (Vec<Tensor>, Vec<Vec<Tensor>>) = seen.into_iter().flatten().unzip();
    let layers = deepstack.first().map_or(0, Vec::len);
    let layer = |j: usize| {
        let of_layer: Vec<&Tensor> = deepstack.iter().filter_map(|layers| layers.get(j)).collect();
        Tensor::f_cat(&of_layer, 0)
    };
    Ok(Features {
        tokens: Tensor::f_cat(&tokens, 0)?,
        deepstack: (0..layers).map(layer).collect::<std::result::Result<_, _>>()?,
    })
}

impl Tower for ImageTower {
    fn dim(&self) -> usize {
        self.dim
    }

    fn forward(&self, items: &[&Prepared], stages: &mut Stages<'_>) -> Computed {
        let (ids, lengths) = padded(&tensors(items, IDS)?)?; // (B, T)
        let pictures = pictures_of(items)?;
        let x = self.decoder.embed(&ids.f_to_device(self.device)?)?.f_contiguous()?; // (B, T, D)
        let size = x.size3()?.2;
        let angles = self.rope.at(&of_pairs(&tensors(items, PLACES)?, &self.dimensions)?)?; // (B, 1, T, D/H)
        let mut deepstack = Vec::new();
        // Where pictures' tokens stand among those of all rows.
        let places = ids.f_flatten(0, 1)?.f_eq(self.image_token)?.f_nonzero()?.f_flatten(0, 1)?;
        let places = places.f_to_device(self.device)?;
        if !pictures.is_empty() {
            let features = self.see(&pictures, &mut |name, x| stages(&format!("vision.{name}"), x))?;
            let _ = x.f_view([-1, size])?.f_index_copy_(0, &places, &features.tokens)?;
            deepstack = features.deepstack;
        }
        let after = |i: usize, x: Tensor| {
            if let Some(features) = deepstack.get(i) {
                let _ = x.f_view([-1, size])?.f_index_add_(0, &places, features)?;
            }
            Ok(x)
        };
        self.decoder.forward(x, &angles, &lengths, after, stages)
    }

    fn smaller(&self, items: &[&Prepared]) -> Option<String> {
        smaller_by_tokens(items)
    }
}

/// Grid and patches of every picture, in the order in which their tokens stand.
fn pictures_of<'a>(items: &[&'a Prepared]) -> std::result::Result<Vec<(Grid, &'a Tensor)>, TchError> {
    let mut pictures = Vec::new();
    for item in items {
        let grids = Vec::<i64>::try_from(item.tensor(GRIDS)?.f_flatten(0, -1)?)?;
        let grids = grids.chunks_exact(2).map(|sides| Grid { rows: sides[0], columns: sides[1] });
        pictures.extend(grids.zip(item.tensors_from(PICTURES)));
    }
    Ok(pictures)
}

/// One picture on its way to the others of its item.
///
/// # Errors
/// What libtorch reports.
pub fn prepared_view(patches: Tensor, grid: Grid, tokens: usize) -> std::result::Result<Prepared, TchError> {
    Ok(Prepared::of_length(vec![patches, Tensor::f_from_slice(&[grid.rows, grid.columns])?], tokens))
}

/// The grid of a picture that [`prepared_view`] took.
///
/// # Errors
/// An item of another kind.
pub fn grid_of(view: &Prepared) -> std::result::Result<Grid, TchError> {
    match Vec::<i64>::try_from(view.tensor(1)?)?[..] {
        [rows, columns] => Ok(Grid { rows, columns }),
        _ => Err(TchError::Shape("an item prepared for another tower".to_owned())),
    }
}

/// An item of several pictures, on its way to the tower.
///
/// # Errors
/// What libtorch reports.
pub fn prepared(sequence: &Sequence, views: &[Prepared]) -> std::result::Result<Prepared, TchError> {
    let of_views = |place: usize| -> std::result::Result<Vec<Tensor>, TchError> {
        views.iter().map(|view| Ok(view.tensor(place)?.shallow_clone())).collect()
    };
    let grids = match &of_views(1)?[..] {
        [] => Tensor::f_zeros([0, 2], (Kind::Int64, tch::Device::Cpu))?,
        grids => Tensor::f_stack(grids, 0)?,
    };
    let mut parts = vec![
        Tensor::f_from_slice(&sequence.ids)?,
        Tensor::f_from_slice(&sequence.places)?.f_view([3, -1])?,
        grids,
    ];
    parts.extend(of_views(0)?);
    Ok(Prepared::of_length(parts, sequence.ids.len()))
}
