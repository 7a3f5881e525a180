//! Runs in turns, and what to make of their times.

use std::time::Instant;

use crate::Result;
use crate::table::Row;

/// What is timed.
pub(crate) type Work<'a> = &'a mut dyn FnMut() -> Result<()>;

/// Times of both sides in milliseconds, neighbours at the same index.
#[derive(Default)]
pub(crate) struct Pairs {
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

/// What tells its own times, in milliseconds, always as many.
pub(crate) type Timed<'a> = &'a mut dyn FnMut() -> Result<Vec<f64>>;

/// Runs both sides in turns: each once unmeasured, then `rounds` times, the
/// first of a round by turns too.
pub(crate) fn measure(rounds: u32, ours: Work<'_>, theirs: Work<'_>) -> Result<Pairs> {
    let mut ours = || Ok(vec![time(ours)?]);
    let mut theirs = || Ok(vec![time(theirs)?]);
    let mut pairs = each(rounds, &mut ours, &mut theirs)?;
    pairs.pop().ok_or_else(|| "nothing was measured".into())
}

/// The same for work of several parts that is timed elsewhere: pairs of each part.
pub(crate) fn each(rounds: u32, ours: Timed<'_>, theirs: Timed<'_>) -> Result<Vec<Pairs>> {
    let parts = ours()?.len();
    if theirs()?.len() != parts {
        return Err("the two sides measure different things".into());
    }
    let mut pairs: Vec<Pairs> = std::iter::repeat_with(Pairs::default).take(parts).collect();
    for round in 0..rounds {
        let (mine, other) = if round % 2 == 0 {
            let mine = ours()?;
            (mine, theirs()?)
        } else {
            let other = theirs()?;
            (ours()?, other)
        };
        for (part, pairs) in pairs.iter_mut().enumerate() {
            pairs.ours.push(*mine.get(part).ok_or("a part is missing")?);
            pairs
                .theirs
                .push(*other.get(part).ok_or("a part is missing")?);
        }
    }
    Ok(pairs)
}

/// Milliseconds that `work` takes.
pub(crate) fn time(work: Work<'_>) -> Result<f64> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed().as_secs_f64() * 1e3)
}

impl Pairs {
    /// The row of the table; the aim is a ratio.
    pub(crate) fn row(&self, what: &str, peer: &str, at_most: f64) -> Row {
        let ratios: Vec<f64> = self
            .ours
            .iter()
            .zip(&self.theirs)
            .map(|(ours, theirs)| ours / theirs)
            .collect();
        let ratio = quartiles(&ratios);
        Row {
            what: what.into(),
            ours: format!("{:.1} ms", quartiles(&self.ours)[1]),
            peer: format!("{peer} {:.1} ms", quartiles(&self.theirs)[1]),
            ratio: Some(ratio),
            aim: format!("at most {at_most}x"),
            met: Some(ratio[1] <= at_most),
        }
    }
}

/// The middle value.
pub(crate) fn median(values: &[f64]) -> f64 {
    quartiles(values)[1]
}

/// Lower quartile, median and upper quartile, interpolated; zeros for nothing.
pub(crate) fn quartiles(values: &[f64]) -> [f64; 3] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    [0.25, 0.5, 0.75].map(|part| {
        let Some(last) = sorted.len().checked_sub(1) else {
            return 0.0;
        };
        let at = part * last as f64;
        let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
        low + (high - low) * at.fract()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_interpolated() {
        assert_eq!(quartiles(&[]), [0.0, 0.0, 0.0]);
        assert_eq!(quartiles(&[3.0]), [3.0, 3.0, 3.0]);
        assert_eq!(quartiles(&[4.0, 1.0, 2.0, 3.0]), [1.75, 2.5, 3.25]);
    }

    #[test]
    fn neighbours_are_compared() {
        let pairs = Pairs {
            ours: vec![1.0, 20.0, 3.0],
            theirs: vec![2.0, 40.0, 6.0],
        };
        let row = pairs.row("x", "y", 0.5);
        assert_eq!(row.ratio, Some([0.5, 0.5, 0.5]));
        assert_eq!(row.met, Some(true));
    }
}
