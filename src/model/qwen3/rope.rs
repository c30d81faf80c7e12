//! Rotary positions (Su et al. 2021): pairs of a head's components, one from each half, turn with the place of
//! their token, each pair at a speed of its own.
//!
//! Speeds and angles are computed by the operations of the reference, in f32: at thousands of tokens the last
//! bit of a speed would show in the vectors.

use tch::{Kind, TchError, Tensor};

use crate::model::layers::Computed;

/// The speed of each pair of a head's components.
pub struct Rope {
    /// (D/2) in f32.
    speeds: Tensor,
    /// What angles are handed out in.
    kind: Kind,
}

/// Cosine and sine for every token and component (…, T, D), ready to be multiplied with heads.
pub struct Angles {
    pub cos: Tensor,
    pub sin: Tensor,
}

impl Rope {
    /// Of heads of `dim` components: theta^(-2i/dim) for pair i.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn new(theta: f64, dim: usize, kind: Kind, device: tch::Device) -> Result<Self, TchError> {
        let exponents = Tensor::f_arange_start_step(0, dim as i64, 2, (Kind::Float, tch::Device::Cpu))?;
        let powers = Tensor::f_pow_scalar(theta, &exponents.f_div_scalar(dim as i64)?)?;
        Ok(Self { speeds: powers.f_reciprocal()?.f_to_device(device)?, kind })
    }

    /// How many pairs there are.
    pub fn pairs(&self) -> i64 {
        self.speeds.size().iter().product()
    }

    /// Angles (T, D) of tokens that stand one after the other.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn in_sequence(&self, tokens: i64) -> Result<Angles, TchError> {
        let places = Tensor::f_arange(tokens, (Kind::Float, self.speeds.device()))?;
        self.at(&places.f_unsqueeze(1)?) // (T, 1)
    }

    /// Angles (…, D) of places (…, D/2), one for each pair of components, or (…, 1), one for all.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn at(&self, places: &Tensor) -> Result<Angles, TchError> {
        let turns = places.f_to_kind(Kind::Float)?.f_mul(&self.speeds)?; // (…, D/2)
        let both_halves = |x: Tensor| Tensor::f_cat(&[&x, &x], -1)?.f_to_kind(self.kind);
        Ok(Angles { cos: both_halves(turns.f_cos()?)?, sin: both_halves(turns.f_sin()?)? })
    }
}

impl Angles {
    /// Turns heads (…, T, D).
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn turn(&self, x: &Tensor) -> Computed {
        let halves = x.f_chunk(2, -1)?;
        let [first, second] = &halves[..] else {
            return Err(TchError::Shape("a head of fewer than two components".to_owned()));
        };
        let turned = Tensor::f_cat(&[&second.f_neg()?, first], -1)?;
        x.f_mul(&self.cos)?.f_add(&turned.f_mul(&self.sin)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_keeps_lengths_and_only_distances_matter() {
        let rope = Rope::new(10_000.0, 8, Kind::Float, tch::Device::Cpu).expect("computed");
        assert_eq!(rope.pairs(), 4);
        let angles = rope.in_sequence(6).expect("computed");
        let x = Tensor::f_arange(8, (Kind::Float, tch::Device::Cpu)).expect("computed").expand([6, 8], false);
        let turned = angles.turn(&x).expect("computed");
        assert!(turned.get(0).allclose(&x.get(0), 1e-6, 1e-6, false), "place 0 does not turn");
        let length = |x: &Tensor| f64::try_from(x.norm()).expect("a number");
        assert!((length(&turned.get(5)) - length(&x.get(5))).abs() < 1e-4);
        let dot = |i, j| f64::try_from(turned.get(i).dot(&turned.get(j))).expect("a number");
        assert!((dot(1, 3) - dot(3, 5)).abs() < 1e-3 && (dot(1, 3) - dot(1, 4)).abs() > 1e-2);
    }
}
