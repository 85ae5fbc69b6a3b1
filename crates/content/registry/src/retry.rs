//! When and how often a request is sent again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

/// How patient a client is. Only what may pass by itself is tried again: 408, 429, 5xx and broken connections.
#[derive(Clone, Debug)]
pub struct RetryOptions {
    /// How often a request is sent in all before giving up. A transfer counts from one again after each byte gained.
    pub attempts: u32,
    /// Wait before the second attempt; doubled for each later one.
    pub first_delay: Duration,
    /// The longest wait between two attempts.
    pub longest_delay: Duration,
    /// The longest `Retry-After` that is obeyed; a registry that asks for more gets no second request.
    pub longest_retry_after: Duration,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self {
            attempts: 6,
            first_delay: Duration::from_millis(250),
            longest_delay: Duration::from_secs(15),
            longest_retry_after: Duration::from_mins(2),
        }
    }
}

impl RetryOptions {
    /// How long to wait after failure number `failures` (from 1), if it is worth waiting at all.
    pub(crate) fn delay(&self, failures: u32, retry_after: Option<Duration>) -> Option<Duration> {
        if failures >= self.attempts {
            return None;
        }
        let backoff = self
            .first_delay
            .saturating_mul(1 << failures.saturating_sub(1).min(16))
            .min(self.longest_delay);
        match retry_after {
            Some(after) if after > self.longest_retry_after => None,
            // Many clients are told the same second: spread them a little.
            Some(after) => Some(after + jitter(self.first_delay)),
            None => Some(backoff / 2 + jitter(backoff / 2)),
        }
    }
}

/// Something between zero and `range`.
fn jitter(range: Duration) -> Duration {
    // A hasher's keys are random; nothing that is kept depends on them.
    let random = u32::try_from(RandomState::new().hash_one(()) >> 32).unwrap_or_default();
    range.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// The `Retry-After` header: seconds, or a date, which is measured against the server's own clock.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let parse = |text: &str| {
        jiff::fmt::rfc2822::DateTimeParser::new()
            .relaxed_weekday(true)
            .parse_timestamp(text.trim())
            .ok()
    };
    let now = parse(headers.get(DATE)?.to_str().ok()?)?;
    let then = parse(text)?;
    Some(Duration::try_from(then.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let mut headers = HeaderMap::new();
        assert_eq!(retry_after(&headers), None);
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(7)));
        headers.insert(RETRY_AFTER, "Sun, 06 Nov 1994 08:50:37 GMT".parse().unwrap());
        assert_eq!(retry_after(&headers), None);
        headers.insert(DATE, "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
        assert_eq!(retry_after(&headers), Some(Duration::from_mins(1)));
        headers.insert(DATE, "Sun, 06 Nov 1994 09:49:37 GMT".parse().unwrap());
        assert_eq!(retry_after(&headers), Some(Duration::ZERO));
    }

    #[test]
    fn waits_grow_end_and_obey_the_server() {
        let options = RetryOptions::default();
        for failures in 1..options.attempts {
            let delay = options.delay(failures, None).unwrap();
            assert!(delay <= Duration::from_millis(250 << (failures - 1)), "{failures}: {delay:?}");
        }
        assert_eq!(options.delay(options.attempts, None), None);
        let told = options.delay(1, Some(Duration::from_secs(3))).unwrap();
        assert!(told >= Duration::from_secs(3) && told < Duration::from_secs(4));
        assert_eq!(options.delay(1, Some(Duration::from_hours(1))), None);
    }
}
