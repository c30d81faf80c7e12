//! Positions of patches: a square table, interpolated to the grid of each picture.

use std::sync::{Mutex, PoisonError};

use tch::{Kind, Tensor};

use crate::error::Result;
use crate::model::grid::{Grid, PerGrid};
use crate::model::layers::Computed;
use crate::model::weights::torch;

/// Gives each grid its positions, and keeps them. Shared by the model's thread and those that decode, which
/// interpolate ahead of it.
pub struct Positions {
    /// (1, D, side, side) in f32 on the CPU, the channels of a place together: the layout in which the
    /// reference calls the same function.
    table: Mutex<Tensor>,
    kept: PerGrid<Tensor>,
    kind: Kind,
    device: tch::Device,
}

impl Positions {
    /// From the table (side x side, D), which gives back its own kind and device.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn new(table: &Tensor, side: usize) -> Result<Self> {
        let side = side as i64;
        let on_cpu = || -> Computed {
            let table = table.f_to_device(tch::Device::Cpu)?.f_to_kind(Kind::Float)?;
            table.f_reshape([side, side, -1])?.f_permute([2, 0, 1])?.f_unsqueeze(0)
        };
        let table_on_cpu = on_cpu().map_err(|error| torch("table of positions", &error))?;
        Ok(Self {
            table: Mutex::new(table_on_cpu),
            kept: PerGrid::default(),
            kind: table.kind(),
            device: table.device(),
        })
    }

    /// The positions of a picture's patches (rows x columns, D).
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn of(&self, grid: Grid) -> Computed {
        self.kept.of(grid, || {
            let table = self.table.lock().unwrap_or_else(PoisonError::into_inner).shallow_clone();
            let positions = self.interpolate(&table, grid)?;
            let bytes = positions.numel() * self.kind.elt_size_in_bytes();
            Ok((positions, bytes))
        })
    }

    /// In f32 whatever the model computes in, as the reference does on a CPU.
    fn interpolate(&self, table: &Tensor, grid: Grid) -> Computed {
        let _no_grad = tch::no_grad_guard();
        let size = [grid.rows, grid.columns];
        let x = table.f_internal_upsample_bilinear2d_aa(size, false, None, None)?; // (1, D, rows, columns)
        let x = x.f_view([-1, grid.patches()])?.f_transpose(0, 1)?; // (T, D)
        x.f_to_kind(self.kind)?.f_contiguous()?.f_to_device(self.device)
    }
}
