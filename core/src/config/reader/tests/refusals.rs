//! What types refuse themselves, and that all of it is reported once, in its place.

use super::*;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(try_from = "RawRange")]
struct Range {
    start: u32,
    end: u32,
}

#[derive(Deserialize)]
struct RawRange {
    start: u32,
    end: u32,
}

impl TryFrom<RawRange> for Range {
    type Error = String;

    fn try_from(raw: RawRange) -> Result<Self, String> {
        let RawRange { start, end } = raw;
        if start < end {
            Ok(Self { start, end })
        } else {
            Err(format!("the range from {start} to {end} is empty"))
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Checked {
    #[serde(default)]
    ranges: Vec<Range>,
    #[serde(default)]
    main: Option<Range>,
    name: Option<NonEmptyString>,
    size: Option<Ranged<u32, 1, 8192>>,
    every: Option<PositiveDuration>,
}

#[test]
fn what_types_refuse_themselves_is_reported_in_its_place_and_all_of_it() {
    let good: Checked = read("{ranges: [{start: 1, end: 2}], name: x, size: 8192, every: 0.1s}");
    assert_eq!((good.ranges, good.main), (vec![Range { start: 1, end: 2 }], None));
    assert_eq!((good.name.unwrap().as_str(), good.size.unwrap().get()), ("x", 8192));
    assert_eq!(good.every.unwrap().get(), Duration::from_millis(100));
    insta::assert_snapshot!(refused::<Checked>(
        "ranges:
- {start: 2, end: 1}
- {start: 1, end: 2}
- {start: 3, end: 3}
- {start: x, end: 0}
- {start: 1}
- 7
main: {start: 9, end: 0}
name: ''
size: 8193
every: 0s
nmae: x
"), @r#"
    f.yaml:2:3: error: ranges[0]: the range from 2 to 1 is empty
    f.yaml:4:3: error: ranges[2]: the range from 3 to 3 is empty
    f.yaml:5:11: error: ranges[3].start: expected a whole number, not `x`
    f.yaml:6:3: error: ranges[4]: `end` is missing
    f.yaml:7:3: error: ranges[5]: expected a map, not `7`
    f.yaml:8:7: error: main: the range from 9 to 0 is empty
    f.yaml:9:7: error: name: value length must be at least 1 character
    f.yaml:10:7: error: size: value must be inside range [1, 8192], not 8193
    f.yaml:11:8: error: every: value must be greater than 0s
    f.yaml:12:1: error: nmae: unknown field "nmae"; did you mean `name`?
    "#);
}

#[test]
fn a_message_that_is_only_a_oneof_can_be_an_enum() {
    assert_eq!(
        read::<Address>("{envoyInternalAddress: {server_listener_name: l}}"),
        Address::EnvoyInternalAddress(crate::config::EnvoyInternalAddress {
            server_listener_name: "l".to_owned(),
            endpoint_id: String::new()
        })
    );
    assert_eq!(read::<DataSource>("{inline_string: x}").load_text().unwrap(), "x");
    insta::assert_snapshot!(refused::<Address>("{pipe: {path: /x}, envoy_internal_address: {}}"), @"f.yaml:1:1: error: only one of pipe, envoy_internal_address can be set");
    insta::assert_snapshot!(refused::<Address>("{}"), @"f.yaml:1:1: error: one of socket_address, pipe, envoy_internal_address must be set");
    insta::assert_snapshot!(refused::<Address>("{pip: {}}"), @r#"f.yaml:1:2: error: pip: unknown field "pip"; did you mean `pipe`?"#);
    insta::assert_snapshot!(refused::<Address>("{pipe: {path: ''}}"), @"f.yaml:1:15: error: pipe.path: value length must be at least 1 character");
    insta::assert_snapshot!(refused::<Address>("x"), @"f.yaml:1:1: error: expected a map with one of socket_address, pipe, envoy_internal_address, not `x`");
    insta::assert_snapshot!(refused::<Vec<Address>>("[{pipe: {}}, {socket_address: {address: a, port_value: 65536}}]"), @"
    f.yaml:1:9: error: [0].pipe: `path` is missing
    f.yaml:1:56: error: [1].socket_address.port_value: 65536 is out of range: it must be from 0 to 65535
    ");
}

#[test]
fn oneofs_written_as_options_have_a_helper() {
    #[derive(Deserialize)]
    struct Raw {
        cluster: Option<String>,
        weighted_clusters: Option<Struct>,
    }
    #[derive(Debug, Deserialize)]
    #[serde(try_from = "Raw")]
    struct Target;
    impl TryFrom<Raw> for Target {
        type Error = String;

        fn try_from(raw: Raw) -> Result<Self, String> {
            let (one, other) = (raw.cluster.is_some(), raw.weighted_clusters.is_some());
            required_one_of("cluster_specifier", &[("cluster", one), ("weighted_clusters", other)])
                .map(|_| Self)
        }
    }
    insta::assert_snapshot!(refused::<Target>("{}"), @"f.yaml:1:1: error: one of cluster, weighted_clusters must be set (cluster_specifier)");
    insta::assert_snapshot!(refused::<Target>("{cluster: a, weighted_clusters: {}}"), @"f.yaml:1:1: error: only one of cluster, weighted_clusters can be set (cluster_specifier)");
    insta::assert_snapshot!(refused::<Target>("{cluster: [a]}"), @"f.yaml:1:11: error: cluster: expected a text, not a list");
}

#[test]
fn envoys_demands_hold_and_say_nothing_twice() {
    let report =
        try_read::<Address>("envoy.config.core.v3.Address", "{socket_address: {address: ''}}").unwrap_err();
    insta::assert_snapshot!(report, @"f.yaml:1:28: error: socket_address.address: value length must be at least 1 character");
}

#[test]
fn errors_of_merged_files_name_the_file_they_are_in() {
    let base = parse_yaml("base.yaml", "{some_text: [], list: [{count: x}], child: {count: 1}}").unwrap();
    let over = parse_yaml("--config-yaml", "{list: [{count: y}], child: {count: z}}").unwrap();
    let extensions = ExtensionSet::default();
    let reader = Reader::new(&extensions);
    let root = merge(&base.root, &over.root);
    assert!(reader.read::<Everything>(&root, ConfigPath::root(), "").is_none());
    insta::assert_snapshot!(reader.into_report(), @"
    --config-yaml:1:17: error: list[1].count: expected a whole number, not `y`
    --config-yaml:1:37: error: child.count: expected a whole number, not `z`
    base.yaml:1:13: error: some_text: expected a text, not a list
    base.yaml:1:32: error: list[0].count: expected a whole number, not `x`
    ");
}

#[test]
fn a_broken_element_hides_nothing_behind_it() {
    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Outer {
        before: Vec<Checked>,
        groups: Vec<Group>,
        count: u32,
    }
    #[derive(Debug, Default, Deserialize)]
    #[serde(try_from = "RawGroup")]
    struct Group;
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct RawGroup {
        ranges: Vec<Range>,
        count: u32,
    }
    impl TryFrom<RawGroup> for Group {
        type Error = String;

        fn try_from(raw: RawGroup) -> Result<Self, String> {
            let empty = raw.ranges.is_empty() && raw.count == 0;
            if empty { Err("a group needs a range".to_owned()) } else { Ok(Self) }
        }
    }
    insta::assert_snapshot!(refused::<Outer>(
        "before: [{main: {start: 3, end: 1}, size: 0}, 1, {main: {start: 4, end: 1}}]
groups:
- ranges: [{start: 3, end: 3}, {start: 4, end: 4}, {start: 5}]
- {ranges: [], count: 0}
- {ranges: [{start: 6, end: 6}], count: x}
count: x
"), @"
    f.yaml:1:17: error: before[0].main: the range from 3 to 1 is empty
    f.yaml:1:43: error: before[0].size: value must be inside range [1, 8192], not 0
    f.yaml:1:47: error: before[1]: expected a map, not `1`
    f.yaml:1:57: error: before[2].main: the range from 4 to 1 is empty
    f.yaml:3:12: error: groups[0].ranges[0]: the range from 3 to 3 is empty
    f.yaml:3:32: error: groups[0].ranges[1]: the range from 4 to 4 is empty
    f.yaml:3:52: error: groups[0].ranges[2]: `end` is missing
    f.yaml:4:3: error: groups[1]: a group needs a range
    f.yaml:5:13: error: groups[2].ranges[0]: the range from 6 to 6 is empty
    f.yaml:5:41: error: groups[2].count: expected a whole number, not `x`
    f.yaml:6:8: error: count: expected a whole number, not `x`
    ");
}

#[test]
fn there_is_an_end_to_the_search_for_errors() {
    let report = refused::<Vec<Range>>(&"- {start: 1, end: 1}\n".repeat(200));
    assert_eq!(report.lines().count(), MAX_PASSES + 1);
    insta::assert_snapshot!(report.lines().next().unwrap(), @"f.yaml:1:1: error: there are more errors than these 100");
}

#[test]
fn typed_configs_that_are_only_kept_must_still_be_something() {
    let metadata = |yaml: &str| format!("{{typed_filter_metadata: {{a: {yaml}}}}}");
    let kept: Metadata = read(&metadata("{'@type': x/envoy.config.core.v3.Address, what: ever}"));
    let kept = &kept.typed_filter_metadata["a"];
    assert_eq!(kept.type_url(), "type.googleapis.com/envoy.config.core.v3.Address");
    assert_eq!(kept.path().to_string(), r#"typed_filter_metadata["a"]"#);
    insta::assert_snapshot!(refused::<Metadata>(&metadata("{'@type': x/foo.v3.Bar}")), @r#"f.yaml:1:39: error: typed_filter_metadata["a"]: unknown type `foo.v3.Bar`: neither Envoy's API nor an extension that is linked has it"#);
    insta::assert_snapshot!(refused::<Metadata>(&metadata("{what: ever}")), @r#"f.yaml:1:29: error: typed_filter_metadata["a"]: `@type` is missing: it names the type of this config"#);
    insta::assert_snapshot!(refused::<Metadata>(&metadata("[]")), @r#"f.yaml:1:29: error: typed_filter_metadata["a"]: expected a typed config, a map with `@type`, not a list"#);
}

#[test]
fn flatten_is_refused_because_it_loses_places() {
    #[derive(Debug, Deserialize)]
    struct Flattened {
        #[serde(flatten)]
        _inner: Everything,
    }
    insta::assert_snapshot!(refused::<Vec<Flattened>>("[{count: 1}]"), @r#"f.yaml:1:10: error: [0]["count"]: this message's Rust type uses #[serde(flatten)], which the config reader forbids because it loses the place of errors"#);
}
