use proptest::prelude::*;

use super::*;

const NORMALIZE: PathNormalization =
    PathNormalization { escaped_slashes: EscapedSlashes::Keep, normalize: true, merge_slashes: false };
const MERGE: PathNormalization =
    PathNormalization { escaped_slashes: EscapedSlashes::Keep, normalize: false, merge_slashes: true };

fn normalized(steps: PathNormalization, path: &str) -> String {
    let (path, action) = steps.normalized(path);
    format!(
        "{}{}",
        path.unwrap_or_default(),
        match action {
            PathAction::Continue => "",
            PathAction::Reject => "refused",
            PathAction::Redirect => " by redirect",
        }
    )
}

/// What the real Envoy sent to its upstream.
#[test]
fn a_path_has_one_form() {
    for (path, expected) in [
        ("/a\"b", "/a%22b"),
        ("/a<b", "/a%3Cb"),
        ("/a^b", "/a%5Eb"),
        ("/a|b", "/a%7Cb"),
        ("/a%2db", "/a-b"),
        ("/a%41b", "/aAb"),
        ("/a%7eb", "/a~b"),
        ("/a%20b", "/a%20b"),
        ("/a%2fb", "/a%2fb"),
        ("/.", "/"),
        ("/..", "/"),
        ("/./", "/"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("/a/b/../c", "/a/c"),
        ("/a//../b", "/a/b"),
        ("/%2e", "/"),
        ("/%2E%2e/a", "/a"),
        ("/a/.%2e/b", "/b"),
        ("/a/...", "/a/..."),
        ("/a/.b", "/a/.b"),
        ("/a\\..\\b", "/b"),
        ("/a/%5c../b", "/a/%5c../b"),
        ("/%", "/%"),
        ("/%zz", "/%zz"),
        ("/%%41", "/%A"),
        ("/%2541", "/%2541"),
        ("/a?x=/../b", "/a?x=/../b"),
        ("/..;/a", "/a"),
        ("/a/..;x/b", "/b"),
        ("/a/.;x/b", "/a/b"),
        ("/a;x/../b", "/b"),
        ("/a/b;c/..;/d", "/a/d"),
        ("/a/.?x", "/a/?x"),
        ("/a%c3b", "/a%c3b"),
        ("/%3%34%1", "/%2534%1"),
        ("/a%34%%41311", "/a4%25A311"),
        ("/%3%343%3", "/%25343%3"),
        ("/433%%34a/", "/433%254a/"),
        ("/4%%3%34/a", "/4%%2534/a"),
        ("/3%2e%41%%%41%41", "/3.A%%25AA"),
    ] {
        assert_eq!(normalized(NORMALIZE, path), expected, "{path}");
    }
    assert_eq!(normalized(NORMALIZE, "/a%00b"), "refused");
}

#[test]
fn slashes_are_merged_in_the_path_alone() {
    for (path, expected) in [
        ("//a///b/", "/a/b/"),
        ("/a?b//c", "/a?b//c"),
        ("//", "//"),
        ("///", "//"),
        ("//?x", "//?x"),
        ("/a//?x", "/a/?x"),
    ] {
        assert_eq!(normalized(MERGE, path), expected, "{path}");
    }
}

#[test]
fn escaped_slashes_are_kept_refused_or_unescaped() {
    let steps = |escaped_slashes| PathNormalization { escaped_slashes, normalize: true, merge_slashes: true };
    for (escaped_slashes, expected) in [
        (EscapedSlashes::Keep, "/a%2F..%5cb"),
        (EscapedSlashes::Reject, "refused"),
        (EscapedSlashes::UnescapeAndRedirect, "/b by redirect"),
        (EscapedSlashes::UnescapeAndForward, "/b"),
    ] {
        assert_eq!(normalized(steps(escaped_slashes), "/a%2F..%5cb"), expected);
        assert_eq!(normalized(steps(escaped_slashes), "/a?%2F"), "/a?%2F");
    }
}

#[test]
fn a_request_gets_its_new_path() {
    let mut head = crate::testing::request("GET", "/a/../b?c", &[]);
    assert_eq!(NORMALIZE.apply(&mut head), PathAction::Continue);
    assert_eq!(head.path(), "/b?c");
}

proptest! {
    #[test]
    fn a_canonical_path_is_safe_and_stays_as_it_is(path in "/([/.a%\\\\23eE45fF]|%2[eEfF]|%41|\\.\\.|\u{e9}|\"| ){0,12}") {
        if let Some(once) = canonical(&path) {
            prop_assert!(once.starts_with('/'));
            prop_assert!(once.split('/').all(|segment| segment != "." && segment != ".."), "{once}");
            prop_assert!(once.is_ascii() && !once.contains(['\\', '"', ' ']));
            let twice = canonical(&once);
            prop_assert_eq!(twice.as_deref(), Some(&*once));
        }
    }

    #[test]
    fn merged_slashes_are_single(path in "/[/a]{1,9}") {
        let merged = merge_slashes(&path).unwrap_or(path);
        prop_assert!(merged == "//" || !merged.contains("//"), "{}", merged);
    }
}
