//! Which of an asset's views are embedded.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};

/// Which of an asset's views, in order of name, are embedded: `all`, a number, or `every:K`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub enum Views {
    #[default]
    All,
    /// So many, spread evenly from the first to the last; all of an asset that has no more than that.
    Evenly(u32),
    /// The first, and every so-many-th after it.
    Every(u32),
}

impl Views {
    /// How many of `n` views are taken.
    pub fn count(self, n: usize) -> usize {
        match self {
            Self::All => n,
            Self::Evenly(wanted) => n.min(wanted as usize),
            Self::Every(step) => n.div_ceil(step.max(1) as usize),
        }
    }

    /// Which of `n` views are taken: ascending indices below `n`.
    ///
    /// `Evenly` takes `numpy.linspace(0, n - 1, wanted)` cut to integers, in numpy's own arithmetic
    /// (index times step in f64, the last one exact), so that it picks the views such scripts picked.
    pub fn pick(self, n: usize) -> impl Iterator<Item = usize> {
        let count = self.count(n);
        let step = match self {
            Self::Evenly(_) if count > 1 => (n - 1) as f64 / (count - 1) as f64,
            Self::Every(step) => f64::from(step.max(1)),
            _ => 1.0,
        };
        let exact_last = matches!(self, Self::Evenly(_)) && count > 1;
        (0..count).map(move |i| if exact_last && i + 1 == count { n - 1 } else { (i as f64 * step) as usize })
    }
}

impl fmt::Display for Views {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Evenly(count) => write!(f, "{count}"),
            Self::Every(step) => write!(f, "every:{step}"),
        }
    }
}

impl FromStr for Views {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| digits.parse().ok().filter(|&n: &u32| n > 0);
        let parsed = match text.split_once(':') {
            None if text == "all" => Some(Self::All),
            None => number(text).map(Self::Evenly),
            Some(("every", step)) => number(step).map(Self::Every),
            Some(_) => None,
        };
        parsed.ok_or_else(|| format!("'{text}': expected all, a number above 0, or every:K"))
    }
}

impl From<Views> for String {
    fn from(views: Views) -> Self {
        views.to_string()
    }
}

impl<'de> Deserialize<'de> for Views {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(TextOrNumber)
    }
}

/// In a file a number may stand without quotes.
struct TextOrNumber;

impl de::Visitor<'_> for TextOrNumber {
    type Value = Views;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"all\", a number above 0, or \"every:K\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Views, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Views, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Views, E> {
        self.visit_str(&number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(views: Views, n: usize) -> Vec<usize> {
        views.pick(n).collect()
    }

    #[test]
    fn evenly_is_linspace_cut_to_integers() {
        // numpy.linspace(0, n - 1, k).astype(int)
        assert_eq!(pick(Views::Evenly(4), 12), [0, 3, 7, 11]);
        assert_eq!(pick(Views::Evenly(8), 12), [0, 1, 3, 4, 6, 7, 9, 11]);
        assert_eq!(pick(Views::Evenly(3), 24), [0, 11, 23]);
        assert_eq!(pick(Views::Evenly(1), 24), [0]);
        assert_eq!(pick(Views::Evenly(12), 12), (0..12).collect::<Vec<_>>());
        assert_eq!(pick(Views::Evenly(30), 12), (0..12).collect::<Vec<_>>());
    }

    #[test]
    fn every_takes_the_first_and_each_kth() {
        assert_eq!(pick(Views::Every(1), 3), [0, 1, 2]);
        assert_eq!(pick(Views::Every(4), 12), [0, 4, 8]);
        assert_eq!(pick(Views::Every(5), 11), [0, 5, 10]);
        assert_eq!(pick(Views::Every(100), 3), [0]);
    }

    #[test]
    fn picks_ascend_stay_below_n_and_are_as_many_as_counted() {
        for n in 0..130 {
            for k in 1..140 {
                for views in [Views::All, Views::Evenly(k), Views::Every(k)] {
                    let picked = pick(views, n);
                    assert_eq!(picked.len(), views.count(n), "{views} of {n}");
                    assert!(picked.windows(2).all(|pair| pair[0] < pair[1]), "{views} of {n}");
                    assert!(picked.last().is_none_or(|&last| last < n), "{views} of {n}");
                }
            }
        }
    }

    #[test]
    fn text_comes_back_and_nonsense_is_refused() {
        for views in [Views::All, Views::Evenly(4), Views::Every(3)] {
            assert_eq!(views.to_string().parse(), Ok(views));
        }
        for text in ["", "ALL", "0", "-1", "every", "every:", "every:0", "each:2", "4x"] {
            assert!(text.parse::<Views>().is_err(), "{text}");
        }
    }
}
