//! Queries that are embedded, with the file's own model.

use std::path::Path;

use super::{Query, SearchArgs, Vectors, WithArgs, queries, search};
use crate::cli::out::spinning;
use crate::cli::query::Asked;
use crate::comm;
use crate::error::{Exit, Result};
use crate::job::{Encoder, EncoderRequest, Input, OwnModel};
use crate::model::{Modality, Options};
use crate::store::{QueryVectors, Reader};

/// Searches for texts and pictures.
///
/// # Errors
/// As [`super::run`]; the file's model is not there, or another.
pub fn run_with_model(args: &SearchArgs, config: Option<&Path>) -> Result<Exit> {
    comm::check_alone()?;
    let server = args.place.server(config)?;
    search(args, server.as_ref(), &queries(args)?, |reader, queries| embed(&args.with, reader, queries))
}

fn embed(with: &WithArgs, reader: &Reader, queries: &[&Query]) -> Result<Vec<Vectors>> {
    let inputs: Vec<Input<'_>> = queries
        .iter()
        .filter_map(|query| match &query.asked {
            Asked::Text(text) => Some(Input::Text(text)),
            Asked::Image(path) => Some(Input::Picture(path)),
            Asked::AssetId(_) => None,
        })
        .collect();
    let encoded = spinning("embedding what is searched for", || -> Result<Vec<_>> {
        let mut encoder = encoder(with, reader, &inputs)?;
        let mut encoded = Vec::new();
        // Pictures are larger than their vectors: never all of them at once.
        for some in inputs.chunks(encoder.items_at_once()) {
            encoded.extend(encoder.encode(some)?);
        }
        Ok(encoded)
    })?;
    let vectors = encoded.into_iter().zip(&inputs).map(|(encoded, input)| {
        let encoded = encoded.map_err(|error| (format!("{}: {error}", name(input)), Exit::Failure))?;
        if encoded.is_cut {
            tracing::warn!("{}: it has more tokens than the model takes, and was cut", name(input));
        }
        let row = ndarray::ArrayView2::from_shape((1, encoded.vector.len()), &encoded.vector);
        let row = row.map_err(|error| (error.to_string(), Exit::Bug))?;
        QueryVectors::new(&row).map_err(|error| (format!("{}: {error}", name(input)), Exit::Failure))
    });
    Ok(vectors.collect())
}

fn encoder(with: &WithArgs, reader: &Reader, inputs: &[Input<'_>]) -> Result<Encoder> {
    let own = OwnModel::find(reader, with.model.as_deref())?;
    let asked = Options {
        background: with.background.as_deref().map(str::parse).transpose()?,
        max_num_patches: with.max_num_patches,
        max_pixels: with.max_pixels,
        instruction: with.instruction.clone(),
        form: with.text_form.map(Into::into),
        dim: None,
    };
    let has = |is: fn(&Input<'_>) -> bool| inputs.iter().any(is);
    let modalities = [
        (Modality::Text, has(|input| matches!(input, Input::Text(_)))),
        (Modality::Image, has(|input| matches!(input, Input::Picture(_)))),
    ];
    let modalities = modalities.into_iter().filter_map(|(modality, is_asked)| is_asked.then_some(modality));
    Encoder::load(&EncoderRequest {
        device: with.device.map_or_else(Default::default, Into::into),
        options: asked.or(own.options.clone()),
        precision: with.precision.map(Into::into),
        threads: with.threads,
        modalities: modalities.collect(),
        ..EncoderRequest::of_file(&own)
    })
}

/// A query in an error.
fn name(input: &Input<'_>) -> String {
    match input {
        Input::Text(text) => format!("'{text}'"),
        Input::Picture(path) => path.display().to_string(),
    }
}
