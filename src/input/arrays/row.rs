//! What is to become of one row of a source.

/// How the vectors of a source are taken over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judge {
    /// Divide each by its norm.
    pub normalize: bool,
    /// How far a norm may be from 1 otherwise.
    pub tolerance: f64,
}

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A vector, which is in the output.
    Vector,
    /// Nothing but zeros: what the old pipeline left of an item that failed.
    Zero,
    /// A component is NaN or infinite.
    NotFinite,
}

impl Verdict {
    /// Why there is no vector.
    pub fn failure(self) -> Option<&'static str> {
        match self {
            Self::Vector => None,
            Self::Zero => Some("zero vector in the source"),
            Self::NotFinite => Some("vector not finite in the source"),
        }
    }
}

/// A vector that is not normalised, and is not to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NotUnit {
    pub norm: f64,
}

impl Judge {
    /// Judges a row. What is to be stored of a vector comes to stand in `out`, which is emptied before.
    ///
    /// # Errors
    /// A vector whose norm is not 1 where nothing is to be normalised.
    pub fn take(&self, row: &[f64], out: &mut Vec<f32>) -> Result<Verdict, NotUnit> {
        out.clear();
        if !row.iter().all(|value| value.is_finite()) {
            return Ok(Verdict::NotFinite);
        }
        let largest = row.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
        if largest == 0.0 {
            return Ok(Verdict::Zero);
        }
        // Of huge or tiny components the squares alone would not be finite, or zero.
        let scale = if (1e-100..1e100).contains(&largest) { 1.0 } else { largest };
        let scaled_norm = row.iter().map(|value| (value / scale).powi(2)).sum::<f64>().sqrt();
        if self.normalize {
            out.extend(row.iter().map(|value| (value / scale / scaled_norm) as f32));
            return Ok(Verdict::Vector);
        }
        let norm = scaled_norm * scale;
        if (norm - 1.0).abs() > self.tolerance {
            return Err(NotUnit { norm });
        }
        out.extend(row.iter().map(|&value| value as f32));
        Ok(Verdict::Vector)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Judge = Judge { normalize: false, tolerance: 1e-3 };
    const NORMALIZE: Judge = Judge { normalize: true, ..STRICT };

    #[test]
    fn unit_vectors_are_taken_as_they_are_and_others_when_asked() {
        let mut out = vec![7.0];
        assert_eq!(STRICT.take(&[0.6, -0.8], &mut out), Ok(Verdict::Vector));
        assert_eq!(out, [0.6, -0.8]);
        assert_eq!(STRICT.take(&[0.6, 0.8009], &mut out), Ok(Verdict::Vector));
        assert_eq!(STRICT.take(&[3.0, 4.0], &mut out), Err(NotUnit { norm: 5.0 }));
        for scale in [1.0, 1e-300, 1e300, 5e-324] {
            assert_eq!(NORMALIZE.take(&[3.0 * scale, -4.0 * scale], &mut out), Ok(Verdict::Vector));
            assert_eq!(out, [0.6, -0.8], "{scale}");
        }
    }

    #[test]
    fn rows_without_a_vector_are_known() {
        for judge in [STRICT, NORMALIZE] {
            let mut out = Vec::new();
            assert_eq!(judge.take(&[0.0, -0.0], &mut out), Ok(Verdict::Zero));
            for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                assert_eq!(judge.take(&[1.0, bad], &mut out), Ok(Verdict::NotFinite));
            }
            assert!(out.is_empty());
        }
    }
}
