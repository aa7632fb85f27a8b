//! The buckets of a configuration, and which of them a request takes from.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use underpass_core::{
    build_context::BuildError,
    config::{ConfigPath, PositiveDuration, Ranged},
};

use crate::{
    action::Descriptor,
    bucket::{Bucket, MIN_FILL_INTERVAL},
    config::{LocalRateLimit, TokenBucket},
};

/// How many values that are not listed have a bucket, where nothing is set.
const MAX_DYNAMIC: u32 = 20;

/// What the buckets of a configuration are, to make as many of them as are needed.
#[derive(Clone)]
pub(crate) struct Plan {
    default: Option<TokenBucket>,
    always_consume_default: bool,
    descriptors: Vec<PlannedDescriptor>,
    max_dynamic: usize,
}

#[derive(Clone)]
struct PlannedDescriptor {
    descriptor: Descriptor,
    bucket: TokenBucket,
    shadow_mode: bool,
}

/// All buckets, of the process or of a connection.
pub(crate) struct Limiter {
    started: Instant,
    default: Option<Arc<Bucket>>,
    always_consume_default: bool,
    listed: HashMap<Descriptor, Arc<Bucket>>,
    /// Those with a key that has no value: each value gets a bucket.
    wildcards: Vec<Wildcard>,
}

struct Wildcard {
    plan: PlannedDescriptor,
    max: usize,
    /// The one used last stands at the end. Only a request whose value is not listed comes here.
    used: Mutex<VecDeque<(Descriptor, Arc<Bucket>)>>,
}

/// What became of a request.
pub(crate) struct Verdict {
    pub(crate) allowed: bool,
    /// The bucket that answers tell of.
    pub(crate) bucket: Option<Arc<Bucket>>,
}

impl Plan {
    /// The messages are Envoy's.
    pub(crate) fn build(config: &LocalRateLimit, path: &ConfigPath) -> Result<Self, BuildError> {
        let too_short = |interval: PositiveDuration| interval.get() < MIN_FILL_INTERVAL;
        if config.token_bucket.is_some_and(|bucket| too_short(bucket.fill_interval)) {
            let message = "local rate limit token bucket fill timer must be >= 50ms";
            return Err(BuildError::at(path.field("token_bucket").field("fill_interval"), message));
        }
        let mut descriptors: Vec<PlannedDescriptor> = Vec::new();
        for (index, config) in config.descriptors.iter().enumerate() {
            let path = path.field("descriptors").index(index);
            if too_short(config.token_bucket.fill_interval) {
                let message = "local rate limit descriptor token bucket fill timer must be >= 50ms";
                return Err(BuildError::at(path.field("token_bucket").field("fill_interval"), message));
            }
            let entries = config.entries.iter().map(|entry| (entry.key.to_string(), entry.value.clone()));
            let descriptor = Descriptor { entries: entries.collect() };
            if descriptors.iter().any(|present| present.descriptor == descriptor) {
                let entries: Vec<_> =
                    descriptor.entries.iter().map(|(key, value)| format!("{key}={value}")).collect();
                let message =
                    format!("duplicate descriptor in the local rate descriptor: {}", entries.join(", "));
                return Err(BuildError::at(path, message));
            }
            let (bucket, shadow_mode) = (config.token_bucket, config.shadow_mode);
            descriptors.push(PlannedDescriptor { descriptor, bucket, shadow_mode });
        }
        let max_dynamic = config.max_dynamic_descriptors.map_or(MAX_DYNAMIC, Ranged::get);
        Ok(Self {
            default: config.token_bucket,
            always_consume_default: config.always_consume_default_token_bucket.unwrap_or(true),
            descriptors,
            max_dynamic: max_dynamic as usize,
        })
    }
}

impl Limiter {
    /// Full buckets.
    pub(crate) fn new(plan: &Plan) -> Self {
        let (wildcards, listed): (Vec<_>, Vec<_>) =
            plan.descriptors.iter().cloned().partition(|planned| planned.descriptor.is_wildcard());
        let wildcard = |plan_of: PlannedDescriptor| Wildcard {
            plan: plan_of,
            max: plan.max_dynamic,
            used: Mutex::default(),
        };
        Self {
            started: Instant::now(),
            default: plan.default.map(|bucket| Arc::new(Bucket::new(bucket, false, 0.0))),
            always_consume_default: plan.always_consume_default,
            listed: listed
                .into_iter()
                .map(|planned| (planned.descriptor.clone(), planned.bucket(0.0)))
                .collect(),
            wildcards: wildcards.into_iter().map(wildcard).collect(),
        }
    }

    /// Seconds since its start.
    pub(crate) fn now(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Takes from the buckets for these kinds, each with the number of tokens it takes, and from that for all.
    pub(crate) fn ask(&self, descriptors: &[(Descriptor, u64)]) -> Verdict {
        let now = self.now();
        let mut matched: Vec<(Arc<Bucket>, u64)> = descriptors
            .iter()
            .filter_map(|(descriptor, hits)| Some((self.bucket(descriptor, now)?, *hits)))
            .collect();
        // The strictest one first, so that what it refuses does not cost the others tokens.
        matched.sort_by(|(one, _), (other, _)| one.tokens_per_second().total_cmp(&other.tokens_per_second()));
        for (bucket, hits) in &matched {
            if !bucket.take(*hits, now) {
                return Verdict { allowed: false, bucket: Some(Arc::clone(bucket)) };
            }
        }
        let first = matched.into_iter().next().map(|(bucket, _)| bucket);
        match &self.default {
            Some(default) if first.is_none() || self.always_consume_default => {
                if default.take(1, now) {
                    Verdict { allowed: true, bucket: first.or_else(|| Some(Arc::clone(default))) }
                } else {
                    Verdict { allowed: false, bucket: Some(Arc::clone(default)) }
                }
            }
            _ => Verdict { allowed: true, bucket: first },
        }
    }

    fn bucket(&self, descriptor: &Descriptor, now: f64) -> Option<Arc<Bucket>> {
        if let Some(bucket) = self.listed.get(descriptor) {
            return Some(Arc::clone(bucket));
        }
        let wildcard = self.wildcards.iter().find(|it| it.plan.descriptor.includes(descriptor))?;
        Some(wildcard.bucket(descriptor, now))
    }
}

impl Wildcard {
    fn bucket(&self, descriptor: &Descriptor, now: f64) -> Arc<Bucket> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match used.iter().position(|(present, _)| present == descriptor) {
            Some(at) => used.remove(at),
            None => None,
        };
        let (descriptor, bucket) = entry.unwrap_or_else(|| (descriptor.clone(), self.plan.bucket(now)));
        if used.len() >= self.max {
            used.pop_front();
        }
        used.push_back((descriptor, Arc::clone(&bucket)));
        bucket
    }
}

impl PlannedDescriptor {
    fn bucket(&self, now: f64) -> Arc<Bucket> {
        Arc::new(Bucket::new(self.bucket, self.shadow_mode, now))
    }
}

impl Descriptor {
    fn is_wildcard(&self) -> bool {
        self.entries.iter().any(|(_, value)| value.is_empty())
    }

    /// Whether the other one has the same keys and, where this one has values, the same values.
    fn includes(&self, other: &Self) -> bool {
        let pairs = self.entries.iter().zip(&other.entries);
        self.entries.len() == other.entries.len()
            && pairs
                .into_iter()
                .all(|(one, other)| one.0 == other.0 && (one.1.is_empty() || one.1 == other.1))
    }
}
