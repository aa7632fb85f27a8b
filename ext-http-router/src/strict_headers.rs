//! Headers that have to be well-formed (`strict_check_headers`).

use underpass_core::build_context::BuildError;
use underpass_http::{RequestHead, filter::HttpFilterContext, route::RetryOn};

use crate::{
    retry_state::{MAX_RETRIES, RETRY_GRPC_ON, RETRY_ON},
    timeouts::{UPSTREAM_RQ_PER_TRY_TIMEOUT_MS, UPSTREAM_RQ_TIMEOUT_MS},
};

/// A header that is checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StrictHeader {
    name: &'static str,
    is_well_formed: fn(&str) -> bool,
}

/// What can be checked.
const KNOWN: [StrictHeader; 5] = [
    StrictHeader { name: UPSTREAM_RQ_TIMEOUT_MS, is_well_formed: is_number },
    StrictHeader { name: UPSTREAM_RQ_PER_TRY_TIMEOUT_MS, is_well_formed: is_number },
    StrictHeader { name: MAX_RETRIES, is_well_formed: is_number },
    StrictHeader { name: RETRY_ON, is_well_formed: |words| all_known(words, RetryOn::parse) },
    StrictHeader { name: RETRY_GRPC_ON, is_well_formed: |words| all_known(words, RetryOn::parse_grpc) },
];

/// Builds `strict_check_headers`.
pub(crate) fn build(
    names: &[String],
    context: &HttpFilterContext<'_>,
) -> Result<Vec<StrictHeader>, BuildError> {
    let find = |(index, name): (usize, &String)| {
        let known = KNOWN.into_iter().find(|known| known.name.eq_ignore_ascii_case(name));
        known.ok_or_else(|| {
            let path = context.build.path().field("strict_check_headers").index(index);
            let names = KNOWN.map(|known| known.name).join(", ");
            BuildError::at(path, format!("{name:?} cannot be checked; one of {names} can"))
        })
    };
    names.iter().enumerate().map(find).collect()
}

impl StrictHeader {
    /// The malformed header of a request, if it has one: its name and its value.
    pub(crate) fn find_malformed(headers: &[Self], head: &RequestHead) -> Option<(&'static str, String)> {
        headers.iter().find_map(|header| {
            let value = head.headers.get(header.name)?;
            let text = value.to_str().ok();
            if text.is_some_and(header.is_well_formed) {
                return None;
            }
            Some((header.name, String::from_utf8_lossy(value.as_bytes()).into_owned()))
        })
    }
}

fn is_number(text: &str) -> bool {
    text.trim().parse::<u64>().is_ok()
}

fn all_known(words: &str, parse: fn(&str) -> RetryOn) -> bool {
    words.split(',').filter(|word| !word.is_empty()).all(|word| !parse(word).is_empty())
}
