//! The place of a task in its Slurm array, as a shard.

use crate::error::{Error, Result};
use crate::plan::Shard;

/// The shard of this task: the first of its array is the first; `variable` reads the environment.
///
/// # Errors
/// This is no task of an array, or of one that has gaps or begins elsewhere than at 0 or 1: part of an array
/// that was submitted again looks like that, and does not say how many shards there are.
pub fn shard(variable: impl Fn(&str) -> Option<String>) -> Result<Shard> {
    let number = |name: &str| variable(name).and_then(|text| text.trim().parse::<u64>().ok());
    let Some(id) = number("SLURM_ARRAY_TASK_ID") else {
        return Err(Error::new(
            "--shard array, but this is no task of a Slurm array (SLURM_ARRAY_TASK_ID is not set)",
        )
        .hint("sbatch --array=1-N makes one; elsewhere say which shard it is: --shard K/N"));
    };
    let place = |name| number(name).ok_or_else(|| Error::new(format!("--shard array: {name} is not set")));
    let (first, last) = (place("SLURM_ARRAY_TASK_MIN")?, place("SLURM_ARRAY_TASK_MAX")?);
    let count = place("SLURM_ARRAY_TASK_COUNT")?;
    let is_whole = first <= 1 && (first..=last).contains(&id) && last - first + 1 == count;
    if !is_whole {
        return Err(Error::new(format!(
            "--shard array: the {count} tasks from {first} to {last} are not a whole array from 0 or 1 on"
        ))
        .hint("where a part of an array is submitted again, say which shard of how many: --shard K/N"));
    }
    Shard::new(id - first + 1, count).map_err(Error::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(id: u64, first: u64, last: u64, count: u64) -> Result<Shard> {
        shard(|name| {
            let value = match name {
                "SLURM_ARRAY_TASK_ID" => id,
                "SLURM_ARRAY_TASK_MIN" => first,
                "SLURM_ARRAY_TASK_MAX" => last,
                "SLURM_ARRAY_TASK_COUNT" => count,
                _ => return None,
            };
            Some(value.to_string())
        })
    }

    #[test]
    fn tasks_are_shards_in_their_order() {
        assert_eq!(of(0, 0, 7, 8), Ok(Shard { number: 1, of: 8 }));
        assert_eq!(of(8, 1, 8, 8), Ok(Shard { number: 8, of: 8 }));
    }

    #[test]
    fn part_of_an_array_is_refused() {
        for (id, first, last, count) in [(3, 3, 3, 1), (5, 1, 9, 5), (2, 2, 4, 3), (9, 1, 8, 8)] {
            let error = of(id, first, last, count).unwrap_err();
            assert!(error.hint.unwrap().contains("--shard K/N"));
        }
        assert!(shard(|_| None).unwrap_err().message.contains("no task"));
    }
}
