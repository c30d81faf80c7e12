//! The layers that families share. Shapes stand beside the lines: B batch, T tokens (or patches),
//! H heads, D the size at hand.
//!
//! Only libtorch's fallible functions are called: an error of the device is an error here, no panic.

use tch::{Kind, TchError, Tensor};

use super::activation::Activation;
use super::weights::Loader;
use crate::error::{Error, Result};

/// What a computation gives.
pub type Computed = std::result::Result<Tensor, TchError>;

/// Receives each stage of a forward pass by its stable name, for comparison with a reference.
pub type Stages<'a> = dyn FnMut(&str, &Tensor) + 'a;

/// x W^T + b, or x W^T alone.
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Reads `<name>.weight` [out, in] and `<name>.bias` [out].
    ///
    /// # Errors
    /// As [`Loader::tensor`].
    pub fn load(loader: &Loader<'_>, name: &str, inputs: usize, outputs: usize) -> Result<Self> {
        Ok(Self {
            weight: loader.tensor(&format!("{name}.weight"), &[outputs, inputs])?,
            bias: Some(loader.tensor(&format!("{name}.bias"), &[outputs])?),
        })
    }

    /// Reads `<name>.weight` [out, in] alone.
    ///
    /// # Errors
    /// As [`Loader::tensor`].
    pub fn load_unbiased(loader: &Loader<'_>, name: &str, inputs: usize, outputs: usize) -> Result<Self> {
        Ok(Self { weight: loader.tensor(&format!("{name}.weight"), &[outputs, inputs])?, bias: None })
    }

    /// From tensors at hand: weight [out, in], bias [out].
    pub fn new(weight: Tensor, bias: Tensor) -> Self {
        Self { weight, bias: Some(bias) }
    }

    /// (…, in) to (…, out)
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn forward(&self, x: &Tensor) -> Computed {
        x.f_linear(&self.weight, self.bias.as_ref())
    }
}

/// Layer normalisation over the last dimension.
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    size: i64,
    eps: f64,
}

impl LayerNorm {
    /// Reads `<name>.weight` and `<name>.bias`, both [size].
    ///
    /// # Errors
    /// As [`Loader::tensor`].
    pub fn load(loader: &Loader<'_>, name: &str, size: usize, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: loader.tensor(&format!("{name}.weight"), &[size])?,
            bias: loader.tensor(&format!("{name}.bias"), &[size])?,
            size: size as i64,
            eps,
        })
    }

    /// # Errors
    /// What libtorch reports.
    pub fn forward(&self, x: &Tensor) -> Computed {
        x.f_layer_norm([self.size], Some(&self.weight), Some(&self.bias), self.eps, true)
    }
}

/// Division by the root of the mean square over the last dimension, in f32, and a weight for each place.
pub struct RmsNorm {
    weight: Tensor,
    size: i64,
    eps: f64,
}

impl RmsNorm {
    /// Reads `<name>.weight` [size].
    ///
    /// # Errors
    /// As [`Loader::tensor`].
    pub fn load(loader: &Loader<'_>, name: &str, size: usize, eps: f64) -> Result<Self> {
        let weight = loader.tensor(&format!("{name}.weight"), &[size])?;
        Ok(Self { weight, size: size as i64, eps })
    }

    /// As the reference rounds: to the kind of `x` before the weight is applied, and after it. Fused with its
    /// weight the norm would be nearer to f32, and in bf16 further from the reference.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn forward(&self, x: &Tensor) -> Computed {
        x.f_rms_norm([self.size], None::<&Tensor>, self.eps)?.f_mul_(&self.weight)
    }
}

/// Two products with an activation between them: `fc1`, `fc2`.
pub struct Mlp {
    fc1: Linear,
    fc2: Linear,
    activation: Activation,
}

impl Mlp {
    /// # Errors
    /// As [`Loader::tensor`].
    pub fn load(
        loader: &Loader<'_>,
        name: &str,
        size: usize,
        inner: usize,
        activation: Activation,
    ) -> Result<Self> {
        let fc1 = Linear::load(loader, &format!("{name}.fc1"), size, inner)?;
        let fc2 = Linear::load(loader, &format!("{name}.fc2"), inner, size)?;
        Ok(Self::new(fc1, fc2, activation))
    }

    /// From its two products.
    pub fn new(fc1: Linear, fc2: Linear, activation: Activation) -> Self {
        Self { fc1, fc2, activation }
    }

    /// # Errors
    /// What libtorch reports.
    pub fn forward(&self, x: &Tensor) -> Computed {
        self.fc2.forward(&activate(self.activation, self.fc1.forward(x)?)?)
    }
}

/// The formulas of transformers' `activations.py`; in place where libtorch can.
///
/// # Errors
/// What libtorch reports.
pub fn activate(activation: Activation, mut x: Tensor) -> Computed {
    match activation {
        Activation::GeluTanh => x.f_gelu_("tanh"),
        Activation::Gelu => x.f_gelu_("none"),
        Activation::QuickGelu => {
            let gate = x.f_mul_scalar(1.702)?.f_sigmoid()?;
            x.f_mul_(&gate)
        }
        Activation::Relu => x.f_relu_(),
        Activation::Silu => x.f_silu_(),
        Activation::Tanh => x.f_tanh_(),
    }
}

/// Scaled dot-product attention of `q` (B, Tq, D) over `k` and `v` (B, Tk, D) in `heads` heads, by
/// libtorch's fused kernels. Every token sees every token that `mask` ([`key_mask`]) lets it. Gives
/// (B, Tq, D).
///
/// # Errors
/// What libtorch reports.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: i64, mask: Option<&Tensor>) -> Computed {
    let (batch, _, size) = q.size3()?;
    let split = |x: &Tensor| x.f_view([batch, -1, heads, size / heads])?.f_transpose(1, 2); // (B, H, T, D/H)
    let x = Tensor::f_scaled_dot_product_attention(
        &split(q)?,
        &split(k)?,
        &split(v)?,
        mask,
        0.0,
        false,
        None::<f64>, // 1 / sqrt(D/H)
        false,
    )?; // (B, H, Tq, D/H)
    x.f_transpose(1, 2)?.f_reshape([batch, -1, size])
}

/// What is added to attention's logits so that tokens from `counts` (B) on are seen by nobody: (B, 1, 1,
/// `tokens`) of 0 and minus infinity. Every count must be at least 1, or attention is not a number.
///
/// # Errors
/// What libtorch reports.
pub fn key_mask(counts: &[i64], tokens: i64, kind: Kind, device: tch::Device) -> Computed {
    let counts = Tensor::f_from_slice(counts)?.f_to_device(device)?.f_view([-1, 1, 1, 1])?;
    let places = Tensor::f_arange(tokens, (Kind::Int64, device))?;
    let is_padding = places.f_ge_tensor(&counts)?; // (B, 1, 1, T)
    Tensor::f_zeros(is_padding.size(), (kind, device))?.f_masked_fill(&is_padding, f64::NEG_INFINITY)
}

/// L2-normalises rows (B, D) in f32, whatever they were computed in.
///
/// # Errors
/// What libtorch reports.
pub fn normalise(rows: &Tensor) -> Computed {
    let rows = rows.f_to_kind(Kind::Float)?;
    let length = rows.f_norm_scalaropt_dim(2.0, [-1], true)?; // (B, 1)
    rows.f_div(&length)
}

/// Rows (B, D) in f32 on any device, as an array of this machine's memory.
///
/// # Errors
/// What libtorch reports.
pub fn to_array(rows: &Tensor) -> Result<ndarray::Array2<f32>> {
    let failed = |error: TchError| super::weights::torch("fetching vectors from the device", &error);
    let (count, dim) = rows.size2().map_err(failed)?;
    let rows = rows.f_to_device(tch::Device::Cpu).and_then(|rows| rows.f_contiguous()).map_err(failed)?;
    let mut values = vec![0.0; (count * dim) as usize];
    let total = values.len();
    rows.f_copy_data(&mut values, total).map_err(failed)?;
    ndarray::Array2::from_shape_vec((count as usize, dim as usize), values)
        .map_err(|error| Error::new(error.to_string()))
}
