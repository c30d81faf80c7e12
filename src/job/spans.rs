//! Where a rank's wall time went: one stopwatch, always on exactly one span.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// What a rank is doing, seen from the thread that feeds the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// Plan, start decision, loading the model.
    Start,
    /// The device waits for decoded items.
    Decode,
    /// The device computes.
    Model,
    /// Computed rows wait for a round to be committed, or for other ranks.
    Write,
    /// Compressing and verifying the final file.
    Seal,
}

/// Seconds spent in each span; the unit stands last in each name.
#[allow(clippy::struct_field_names)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spans {
    pub start_s: f64,
    pub decode_s: f64,
    pub model_s: f64,
    pub write_s: f64,
    pub seal_s: f64,
}

impl Spans {
    fn add(&mut self, span: Span, time: Duration) {
        let seconds = match span {
            Span::Start => &mut self.start_s,
            Span::Decode => &mut self.decode_s,
            Span::Model => &mut self.model_s,
            Span::Write => &mut self.write_s,
            Span::Seal => &mut self.seal_s,
        };
        *seconds += time.as_secs_f64();
    }

    /// Adds another thread's spans, which took the place of this one's for their time.
    pub fn merge(&mut self, other: &Self) {
        self.start_s += other.start_s;
        self.decode_s += other.decode_s;
        self.model_s += other.model_s;
        self.write_s += other.write_s;
        self.seal_s += other.seal_s;
    }

    /// Every span times `factor`.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        Self {
            start_s: self.start_s * factor,
            decode_s: self.decode_s * factor,
            model_s: self.model_s * factor,
            write_s: self.write_s * factor,
            seal_s: self.seal_s * factor,
        }
    }

    /// The sum of all spans.
    pub fn total_s(&self) -> f64 {
        self.start_s + self.decode_s + self.model_s + self.write_s + self.seal_s
    }
}

/// Measures spans one after the other, without gaps.
pub struct Stopwatch {
    spans: Spans,
    current: Span,
    since: Instant,
}

impl Stopwatch {
    pub fn start(span: Span) -> Self {
        Self::start_at(span, Instant::now())
    }

    /// Starts with a span that began earlier.
    pub fn start_at(span: Span, since: Instant) -> Self {
        Self { spans: Spans::default(), current: span, since }
    }

    /// Ends the current span, which began at `since`; for its beginning, `spans` of another thread, which
    /// also began then, tell more.
    pub fn replace(&mut self, since: Instant, spans: &Spans) {
        self.spans.merge(spans);
        self.since = since + Duration::from_secs_f64(spans.total_s());
    }

    /// Ends the current span and begins another.
    pub fn switch(&mut self, span: Span) {
        let now = Instant::now();
        self.spans.add(self.current, now - self.since);
        (self.current, self.since) = (span, now);
    }

    /// Ends the last span.
    pub fn stop(mut self) -> Spans {
        self.switch(self.current);
        self.spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_add_up_to_the_time_between_start_and_stop() {
        let begin = Instant::now();
        let mut watch = Stopwatch::start(Span::Start);
        for span in [Span::Decode, Span::Model, Span::Decode, Span::Write] {
            watch.switch(span);
            std::thread::sleep(Duration::from_millis(3));
        }
        let spans = watch.stop();
        let total = begin.elapsed().as_secs_f64();
        assert!(spans.decode_s >= 0.006 && spans.model_s >= 0.003 && spans.write_s >= 0.003);
        assert!((spans.total_s() - total).abs() < 0.001, "{spans:?} of {total} s");
    }
}
