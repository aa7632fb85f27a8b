//! Answers: those that are given without asking a filter, and what every answer gets before it is sent.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderValue, StatusCode};

/// The value of `date`, made once a second.
#[derive(Default)]
pub(crate) struct DateCache {
    second: Cell<u64>,
    value: RefCell<Option<HeaderValue>>,
}

impl DateCache {
    pub(crate) fn now(&self) -> HeaderValue {
        let second = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut value = self.value.borrow_mut();
        if let Some(value) = &*value
            && self.second.get() == second
        {
            return value.clone();
        }
        self.second.set(second);
        let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
        let made = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
        *value = Some(made.clone());
        made
    }
}

/// What a codec's refusal says to the client.
pub(crate) fn refusal_text(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("")
}
