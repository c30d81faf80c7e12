//! Does a device compute? One product of matrices, compared with the same one in float64 on the CPU.

use tch::{Kind, TchError, Tensor};

use super::Device;

/// Rows and columns of the matrices.
const SIDE: i64 = 256;
/// Their entries are whole numbers below this: 12 bits, exact in float32's 24 and not in the 11 that
/// TensorFloat-32 keeps.
const ENTRIES: i64 = 4096;
/// The largest error relative to the largest entry of the product. float32 sums 256 products with less than
/// 1e-6; TensorFloat-32's rounding of the factors (2^-11 each) leaves about 3e-5.
const ERROR_MAX: f64 = 5e-6;

/// Why a product of matrices is not to be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MatrixError {
    /// libtorch or the driver refused, in its own words.
    Failed(String),
    /// It is wrong by this part of its largest entry.
    Wrong(String),
}

/// Multiplies two matrices in float32 on the device and compares the product with that of float64 on the
/// CPU, which also shows whether TensorFloat-32 is off.
///
/// # Errors
/// The device does not compute, or not in float32.
pub fn check_product(device: Device) -> Result<(), MatrixError> {
    let error = relative_error(device).map_err(|error| {
        // libtorch appends a stack of C++ calls.
        let text = error.to_string();
        MatrixError::Failed(text.lines().next().unwrap_or_default().to_owned())
    })?;
    if error <= ERROR_MAX { Ok(()) } else { Err(MatrixError::Wrong(format!("{error:.1e}"))) }
}

fn relative_error(device: Device) -> Result<f64, TchError> {
    let cpu = tch::Device::Cpu;
    // Numbers without a pattern, the same at every call: residues of multiples of a prime.
    let entries = |factor: i64| {
        let numbers = Tensor::f_arange(SIDE * SIDE, (Kind::Int64, cpu))?;
        numbers.f_multiply_scalar(factor)?.f_remainder(ENTRIES)?.f_reshape([SIDE, SIDE])
    };
    let (a, b) = (entries(2_654_435_761)?, entries(40_503)?);
    let single = |tensor: &Tensor| tensor.f_to_kind(Kind::Float)?.f_to_device(device.torch());
    let product = single(&a)?.f_matmul(&single(&b)?)?.f_to_device(cpu)?.f_to_kind(Kind::Double)?;
    let exact = a.f_to_kind(Kind::Double)?.f_matmul(&b.f_to_kind(Kind::Double)?)?;
    let error = product.f_sub(&exact)?.f_abs()?.f_max()?.f_double_value(&[])?;
    Ok(error / exact.f_max()?.f_double_value(&[])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_computes_float32() {
        assert_eq!(check_product(Device::Cpu), Ok(()));
    }

    #[test]
    fn factors_of_eleven_bits_would_be_noticed() {
        let cpu = (Kind::Int64, tch::Device::Cpu);
        let a = Tensor::arange(SIDE * SIDE, cpu).multiply_scalar(2_654_435_761_i64).remainder(ENTRIES);
        let a = a.reshape([SIDE, SIDE]).to_kind(Kind::Double);
        // The lowest bit lost, as TensorFloat-32 loses it of the larger half of the entries.
        let rounded = (&a / 2.0).floor() * 2.0;
        let (exact, coarse) = (a.matmul(&a), rounded.matmul(&a));
        let error = (&exact - coarse).abs().max().double_value(&[]) / exact.max().double_value(&[]);
        assert!(error > ERROR_MAX, "{error}");
    }
}
