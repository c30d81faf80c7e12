//! Components of vectors as they lie in files, and where.

/// The number of the scratch file among the source files.
pub const SCRATCH: u16 = u16::MAX;

/// How components are stored: IEEE 754 floats of 2, 4 or 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elements {
    width: Width,
    order: Order,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Two,
    Four,
    Eight,
}

/// The order of a number's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Little,
    Big,
}

impl Order {
    /// As NumPy writes it. `=`, the order of the machine that wrote it, is taken for that of all such machines
    /// today; it stands where a type was never told its order.
    pub fn of(sign: &str) -> Option<Self> {
        match sign {
            "<" | "=" | "|" => Some(Self::Little),
            ">" => Some(Self::Big),
            _ => None,
        }
    }
}

impl Elements {
    /// What this program writes to the scratch file.
    pub const F64: Self = Self { width: Width::Eight, order: Order::Little };

    /// A type as NumPy names it without its order, e.g. `f4`.
    pub fn of(name: &str, order: Order) -> Option<Self> {
        let width = match name {
            "f2" => Width::Two,
            "f4" => Width::Four,
            "f8" => Width::Eight,
            _ => return None,
        };
        Some(Self { width, order })
    }

    /// The same in another order.
    #[must_use]
    pub fn ordered(self, order: Order) -> Self {
        Self { order, ..self }
    }

    /// Bytes of one.
    pub fn bytes(self) -> u64 {
        match self.width {
            Width::Two => 2,
            Width::Four => 4,
            Width::Eight => 8,
        }
    }

    /// The numbers in whole elements; a rest is left. Each is exact.
    pub fn decode(self, bytes: &[u8], out: &mut Vec<f64>) {
        use half::f16;
        match (self.width, self.order) {
            (Width::Two, Order::Little) => extend(bytes, out, |bytes| f16::from_le_bytes(bytes).to_f64()),
            (Width::Two, Order::Big) => extend(bytes, out, |bytes| f16::from_be_bytes(bytes).to_f64()),
            (Width::Four, Order::Little) => extend(bytes, out, |bytes| f32::from_le_bytes(bytes).into()),
            (Width::Four, Order::Big) => extend(bytes, out, |bytes| f32::from_be_bytes(bytes).into()),
            (Width::Eight, Order::Little) => extend(bytes, out, f64::from_le_bytes),
            (Width::Eight, Order::Big) => extend(bytes, out, f64::from_be_bytes),
        }
    }
}

fn extend<const N: usize>(bytes: &[u8], out: &mut Vec<f64>, decode: impl Fn([u8; N]) -> f64) {
    out.extend(bytes.as_chunks().0.iter().map(|&element| decode(element)));
}

/// Rows that follow each other without gap in one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Where the first begins.
    pub offset: u64,
    pub rows: u32,
    /// The source file's number, or [`SCRATCH`].
    pub file: u16,
    pub elements: Elements,
}

impl Run {
    /// Bytes of one of its rows.
    pub fn row_bytes(self, dim: usize) -> u64 {
        dim as u64 * self.elements.bytes()
    }

    /// Takes in the rows of another run that begins where this one ends.
    pub fn join(&mut self, next: Self, dim: usize) -> bool {
        let end =
            u64::from(self.rows).checked_mul(self.row_bytes(dim)).and_then(|n| n.checked_add(self.offset));
        let rows = self.rows.checked_add(next.rows);
        match rows {
            Some(rows)
                if end == Some(next.offset) && self.file == next.file && self.elements == next.elements =>
            {
                self.rows = rows;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_every_kind_are_exact() {
        let decode = |name, order, bytes: &[u8]| {
            let mut out = Vec::new();
            Elements::of(name, order).unwrap().decode(bytes, &mut out);
            out
        };
        assert_eq!(decode("f2", Order::Little, &[0, 0x3c, 0, 0xb8, 1]), [1.0, -0.5]);
        assert_eq!(decode("f2", Order::Big, &[0x3c, 0]), [1.0]);
        assert_eq!(decode("f4", Order::Little, &0.1_f32.to_le_bytes()), [f64::from(0.1_f32)]);
        assert_eq!(decode("f4", Order::Big, &0.1_f32.to_be_bytes()), [f64::from(0.1_f32)]);
        assert_eq!(decode("f8", Order::Little, &0.1_f64.to_le_bytes()), [0.1]);
        assert_eq!(decode("f8", Order::Big, &0.1_f64.to_be_bytes()), [0.1]);
        assert!(decode("f4", Order::Big, &[0x7f, 0xc0, 0, 0])[0].is_nan());
        assert_eq!(Elements::of("i4", Order::Little), None);
    }

    #[test]
    fn runs_join_where_one_begins_at_the_others_end() {
        let run = |offset, rows| Run { offset, rows, file: 0, elements: Elements::F64 };
        let mut first = run(100, 2);
        assert!(!first.join(run(131, 1), 2));
        assert!(first.join(run(132, 3), 2));
        assert_eq!(first, run(100, 5));
        assert!(!first.join(Run { file: 1, ..run(180, 1) }, 2));
        assert!(!run(u64::MAX, 1).join(run(0, 1), 2));
        assert!(!run(0, u32::MAX).join(run(u64::from(u32::MAX) * 16, 1), 2));
        assert_eq!(size_of::<Run>(), 16);
    }
}
