//! What the rows of an output are made from, and with that which rows a table's assets have.

use serde::{Deserialize, Serialize};

use super::Table;

/// What a row is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A caption, the one of its asset.
    Text,
    /// A view, one of its asset's.
    Image,
    /// All views that are taken of an asset, together: the table counts them, and the asset has one row.
    ViewSet,
}

impl Kind {
    /// Whether an asset has a row for each of its views, and not one row.
    pub fn has_row_per_view(self) -> bool {
        self == Self::Image
    }

    /// Whether rows are made from views.
    pub fn has_views(self) -> bool {
        self != Self::Text
    }

    /// Number of rows of a table's assets.
    pub fn rows(self, table: &Table) -> u64 {
        if self.has_row_per_view() { table.total() } else { table.len() as u64 }
    }

    /// The asset of a table that `row` belongs to; `None` past the end.
    pub fn asset_of_row(self, table: &Table, row: u64) -> Option<usize> {
        if self.has_row_per_view() {
            return table.asset_at(row).map(|(asset, _)| asset);
        }
        usize::try_from(row).ok().filter(|&asset| asset < table.len())
    }
}

/// A group of an output file: some of its rows, which follow each other, under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowGroup {
    /// Empty for the one group of a file that has its vectors at the root.
    pub name: String,
    /// Number of rows.
    pub rows: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::TableBuilder;

    #[test]
    fn a_set_of_views_has_one_row() {
        let mut table = TableBuilder::default();
        for (id, count) in [("a", 3), ("b", 1), ("c", 2)] {
            table.push(id, count).unwrap();
        }
        let table = table.finish();
        let owners = |kind: Kind| -> Vec<_> {
            (0..=kind.rows(&table)).map(|row| kind.asset_of_row(&table, row)).collect()
        };
        let (a, b, c) = (Some(0), Some(1), Some(2));
        assert_eq!(owners(Kind::Image), [a, a, a, b, c, c, None]);
        assert_eq!(owners(Kind::ViewSet), [a, b, c, None]);
        assert_eq!(Kind::ViewSet.asset_of_row(&table, u64::MAX), None);
    }
}
