//! Field names in their two styles, `stat_prefix` and `statPrefix`, and the nearest name to a mistyped one.

/// Whether a key of a file names `field`: as it is, or in lowerCamelCase as proto3 JSON writes it.
pub(crate) fn same_field(key: &str, field: &str) -> bool {
    key == field || is_camel_case_of(key, field)
}

fn is_camel_case_of(key: &str, field: &str) -> bool {
    let mut key = key.bytes();
    let mut upper = false;
    for byte in field.bytes() {
        if byte == b'_' {
            upper = true;
            continue;
        }
        let expected = if upper { byte.to_ascii_uppercase() } else { byte };
        upper = false;
        if key.next() != Some(expected) {
            return false;
        }
    }
    key.next().is_none()
}

/// The name as protobuf files write it: `statPrefix` becomes `stat_prefix`.
pub(crate) fn snake_case(key: &str) -> String {
    let mut name = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

/// The one of `names` that `typed` was probably meant to be.
pub(crate) fn nearest<'n>(typed: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let worst = (typed.chars().count() / 3).max(1);
    names
        .into_iter()
        .map(|name| (distance(typed, name), name))
        .filter(|(distance, _)| *distance <= worst)
        .min()
        .map(|(_, name)| name)
}

/// The one of the message names `names` that `typed` was probably meant to be: one whose last part is nearly the same.
pub(crate) fn nearest_type<'n>(typed: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let last = |name: &str| name.rsplit_once('.').map_or(name, |(_, last)| last).to_owned();
    let typed_last = last(typed);
    let close = names.into_iter().filter(|name| nearest(&typed_last, [last(name).as_str()]).is_some());
    close.min_by_key(|name| (distance(&typed_last, &last(name)), distance(typed, name), *name))
}

/// How many letters have to be put in, taken out, changed or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &from) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, &to) in b.iter().enumerate() {
            let changed = last[j] + usize::from(from != to);
            let mut best = changed.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && from == b[j - 1] && a[i - 1] == to {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_styles_name_a_field() {
        for key in ["stat_prefix", "statPrefix"] {
            assert!(same_field(key, "stat_prefix"), "{key}");
        }
        for key in ["StatPrefix", "statprefix", "stat_Prefix", "statPrefi", "statPrefixx", ""] {
            assert!(!same_field(key, "stat_prefix"), "{key}");
        }
        assert!(same_field("http2ProtocolOptions", "http2_protocol_options"));
        assert_eq!(snake_case("httpFilters"), "http_filters");
    }

    #[test]
    fn the_nearest_name_is_found_only_if_it_is_near() {
        let names = ["cluster", "weighted_clusters", "stat_prefix", "name"];
        for (typed, meant) in [
            ("clutser", Some("cluster")),
            ("clusters", Some("cluster")),
            ("stat_prefx", Some("stat_prefix")),
            ("nmae", Some("name")),
            ("weighted_cluster", Some("weighted_clusters")),
            ("timeout", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, names), meant, "{typed}");
        }
    }

    #[test]
    fn a_type_is_near_if_its_last_part_is() {
        let names = [
            "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "envoy.extensions.filters.network.echo.v3.Echo",
        ];
        assert_eq!(nearest_type("envoy.filters.network.TcpProxy", names), Some(names[0]));
        assert_eq!(
            nearest_type("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxi", names),
            Some(names[0])
        );
        assert_eq!(nearest_type("envoy.extensions.filters.network.tcp_proxy.v3.Other", names), None);
    }
}
