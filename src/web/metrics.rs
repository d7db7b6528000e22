//! What is counted, for Prometheus (the text form of `OpenMetrics` 1.0).
//!
//! The request path adds to atomic numbers. Its one lock, around the table of
//! label sets, is taken for writing only when a label set comes up for the first
//! time; all labels are of closed sets, so that nobody can make series.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hardtack_token::{Timestamp, Verifier};
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// The media type of what is written.
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds for a decision, in microseconds: a cached one takes a few, a cold
/// one some hundred.
const DECISION: &[u64] = &[2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000];
/// Upper bounds for a request, in microseconds: from a local upstream to a slow one.
const REQUEST: &[u64] = &[
    1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    10_000_000, 30_000_000,
];

/// A decision of the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
#[expect(clippy::struct_field_names, reason = "the label has this name")]
struct Decision {
    decision: &'static str,
    /// `ok`, `public`, or the code of the refusal.
    code: &'static str,
    /// The pattern of the fact that decided, or nothing.
    route: Arc<str>,
}

/// An answer that the gateway gave in the upstream's place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    code: &'static str,
}

/// A request to the API.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApiRequest {
    method: &'static str,
    /// The pattern of the path, or nothing where there is none.
    route: String,
    status: u16,
}

/// Measures how long something takes. Nothing is decided by it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "it measures, and says no time")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn took(self) -> Duration {
        self.0.elapsed()
    }
}

/// All that one node counts.
#[derive(Debug, Default)]
pub struct Metrics {
    decisions: Family<Decision, Counter>,
    decision_seconds: Histogram,
    refusals: Family<Refusal, Counter>,
    request_seconds: Histogram,
    api: Family<ApiRequest, Counter>,
    api_seconds: Histogram,
    no_route: Arc<str>,
}

/// What is only looked at when somebody asks.
#[derive(Debug)]
pub(crate) struct Now<'a> {
    pub(crate) verifier: &'a Verifier,
    pub(crate) time: Timestamp,
}

impl Metrics {
    /// Nothing counted yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            decision_seconds: Histogram::new(DECISION),
            request_seconds: Histogram::new(REQUEST),
            api_seconds: Histogram::new(REQUEST),
            ..Self::default()
        }
    }

    /// Counts a decision of the gateway, `code` being none where it allows.
    pub(crate) fn decided(
        &self,
        decision: &'static str,
        code: &'static str,
        route: Option<&Arc<str>>,
        took: Duration,
    ) {
        let labels = Decision {
            decision,
            code,
            route: Arc::clone(route.unwrap_or(&self.no_route)),
        };
        self.decisions.get_or_create(&labels).inc();
        self.decision_seconds.observe(took);
    }

    /// Counts an answer that the gateway gave in the upstream's place.
    pub(crate) fn refused(&self, code: &'static str) {
        self.refusals.get_or_create(&Refusal { code }).inc();
    }

    /// Counts a request through the gateway, until the head of its answer.
    pub(crate) fn passed(&self, took: Duration) {
        self.request_seconds.observe(took);
    }

    /// Counts a request to the API.
    pub(crate) fn answered(&self, method: &str, route: Option<&str>, status: u16, took: Duration) {
        let method = match method {
            "GET" => "GET",
            "POST" => "POST",
            _ => "other",
        };
        let labels = ApiRequest {
            method,
            route: route.unwrap_or_default().to_owned(),
            status,
        };
        self.api.get_or_create(&labels).inc();
        self.api_seconds.observe(took);
    }

    /// Everything in the text form.
    pub(crate) fn text(&self, now: &Now<'_>) -> Result<String, fmt::Error> {
        let mut all = Registry::with_prefix("hardtack");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        all.register("build", "The program", build);
        all.register(
            "gateway_decisions",
            "Decisions by outcome, code and the pattern of the fact that decided",
            self.decisions.clone(),
        );
        let timed = [
            (
                "gateway_decision",
                "Time of a decision",
                &self.decision_seconds,
            ),
            (
                "gateway_request",
                "Time from the head of a request to the head of its answer",
                &self.request_seconds,
            ),
            (
                "api_request",
                "Time of a request to the API",
                &self.api_seconds,
            ),
        ];
        for (name, help, histogram) in timed {
            all.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        }
        all.register(
            "gateway_refusals",
            "Answers that the gateway gave in the upstream's place, by code",
            self.refusals.clone(),
        );
        all.register("api_requests", "Requests to the API", self.api.clone());
        let (hits, misses) = now.verifier.cache_lookups();
        let counted = [
            (
                "token_cache_hits",
                "Tokens that had been verified before",
                hits,
            ),
            (
                "token_cache_misses",
                "Tokens that had to be verified",
                misses,
            ),
        ];
        for (name, help, value) in counted {
            all.register(name, help, ConstCounter::new(value));
        }
        let revocations = now.verifier.revocations();
        let age = now.time.since(revocations.as_of());
        let age = ConstGauge::new(i64::try_from(age).unwrap_or(i64::MAX));
        all.register_with_unit(
            "revocations_age",
            "Time since the revocations were read",
            Unit::Seconds,
            age,
        );
        let known = ConstGauge::new(i64::try_from(revocations.len()).unwrap_or(i64::MAX));
        all.register("revocations", "Ids that are known to have ended", known);
        let mut text = String::new();
        encode(&mut text, &all)?;
        Ok(text)
    }
}

/// A histogram of times that is added to without a lock.
/// A clone is the same histogram.
#[derive(Clone, Debug, Default)]
struct Histogram {
    bounds: &'static [u64],
    /// One for each bound and one above all.
    counts: Arc<[AtomicU64]>,
    microseconds: Arc<AtomicU64>,
}

impl Histogram {
    fn new(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            microseconds: Arc::default(),
        }
    }

    fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = self.bounds.partition_point(|bound| *bound < micros);
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.microseconds.fetch_add(micros, Ordering::Relaxed);
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let bounds = self.bounds.iter().map(|bound| seconds(*bound));
        let bounds = bounds.chain([f64::INFINITY]);
        let counts = self.counts.iter().map(|c| c.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = seconds(self.microseconds.load(Ordering::Relaxed));
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "2^53 microseconds are 285 years"
)]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
