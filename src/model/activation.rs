//! Activation functions, by the names that configs give them.

use super::json::Section;
use crate::error::Result;

/// The activation between the two products of an MLP, by transformers' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `gelu_pytorch_tanh`, and `gelu_new`, which is the same formula written out.
    GeluTanh,
    /// `gelu`: by the error function.
    Gelu,
    /// `quick_gelu`: x * sigmoid(1.702 x).
    QuickGelu,
    Relu,
    /// `silu`, also called `swish`.
    Silu,
    Tanh,
}

impl Activation {
    /// Every accepted name, with what it means.
    pub const NAMES: [(&'static str, Self); 10] = [
        ("gelu_pytorch_tanh", Self::GeluTanh),
        ("gelu_new", Self::GeluTanh),
        ("gelu_python_tanh", Self::GeluTanh),
        ("gelu", Self::Gelu),
        ("gelu_python", Self::Gelu),
        ("quick_gelu", Self::QuickGelu),
        ("relu", Self::Relu),
        ("silu", Self::Silu),
        ("swish", Self::Silu),
        ("tanh", Self::Tanh),
    ];

    /// The activation that a config names at `key`.
    ///
    /// # Errors
    /// One that is not known here, with those that are.
    pub fn parse<'a>(section: &Section<'a>, key: &str, default: &'a str) -> Result<Self> {
        let name = section.text(key, default)?;
        let found = Self::NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, activation)| *activation).ok_or_else(|| {
            let known = Self::NAMES.map(|(name, _)| name).join(", ");
            section.unsupported(key, &name.into()).hint(format!("supported: {known}"))
        })
    }
}
