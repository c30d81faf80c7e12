//! Activation functions, by the names that configs give them.

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

    /// The activation transformers means by `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, activation)| *activation)
    }
}
