//! The extension mechanism as a third party meets it: this crate knows `underpass-core` and serde, declares categories of
//! its own, and provides extensions of them.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests are tests")]

use std::{fmt::Debug, sync::Arc, time::Duration};

use serde::Deserialize;
use underpass_core::{
    config::{ConfigPath, ExtensionConfig, Reader, Report, TypedConfig, decode_any, parse_yaml},
    extension,
    extension::{Category, ExtensionSet, Registration, RegistryError, fields_of, typetag},
};

#[typetag::deserialize(tag = "@type")]
trait ToolConfig: Debug + Send + Sync {
    fn describe(&self) -> String;
}

impl Category for dyn ToolConfig {
    const NAME: &'static str = "tool";
}

#[typetag::deserialize(tag = "@type")]
trait MaterialConfig: Debug + Send + Sync {
    fn thickness(&self) -> Option<u32> {
        None
    }
}

impl Category for dyn MaterialConfig {
    const NAME: &'static str = "material";
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Hammer {
    head_weight: u32,
    nested: Vec<Nail>,
    spare: Option<ExtensionConfig<dyn ToolConfig>>,
    material: Option<TypedConfig<dyn MaterialConfig>>,
    timeout: Option<Duration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Nail {
    weight: u32,
}

/// Drives nails.
#[extension(
    name = "example.tools.hammer",
    type_url = "type.googleapis.com/example.tools.v3.Hammer",
    aliases = ["type.googleapis.com/example.tools.v2.Hammer"]
)]
impl ToolConfig for Hammer {
    fn describe(&self) -> String {
        let nails: Vec<u32> = self.nested.iter().map(|nail| nail.weight).collect();
        let spare = self.spare.as_ref().map(|spare| format!(", spare: {}", spare.typed_config.describe()));
        let material = self.material.as_ref().map(|material| format!(" of {:?}", material.config()));
        format!(
            "hammer{} ({}) with nails {nails:?}{}{}",
            material.unwrap_or_default(),
            self.head_weight,
            spare.unwrap_or_default(),
            self.timeout.map(|timeout| format!(" for {timeout:?}")).unwrap_or_default(),
        )
    }
}

#[derive(Debug, Deserialize)]
struct Saw {}

#[extension(
    name = "example.tools.saw",
    type_url = "type.googleapis.com/example.tools.v3.Saw",
    doc = "Cuts wood."
)]
impl ToolConfig for Saw {
    fn describe(&self) -> String {
        "saw".to_owned()
    }
}

#[derive(Debug, Deserialize)]
struct Wood;

#[extension(name = "example.materials.wood", type_url = "type.googleapis.com/example.materials.v3.Wood")]
impl MaterialConfig for Wood {}

/// One of Envoy's messages: only those can come in protobuf's binary form.
#[derive(Debug, Deserialize)]
struct Felt {
    buffer_size_kb: Option<u32>,
}

#[extension(
    name = "example.materials.felt",
    type_url = "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener"
)]
impl MaterialConfig for Felt {
    fn thickness(&self) -> Option<u32> {
        self.buffer_size_kb
    }
}

/// Its author did not read that `flatten` is forbidden.
#[derive(Debug, Deserialize)]
struct Velvet {
    #[serde(flatten)]
    _nail: Nail,
}

#[extension(name = "example.materials.velvet", type_url = "type.googleapis.com/example.materials.v3.Velvet")]
impl MaterialConfig for Velvet {}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Workshop {
    name: String,
    tools: Vec<ExtensionConfig<dyn ToolConfig>>,
}

fn read(yaml: &str) -> Result<Workshop, Report> {
    let document = parse_yaml("shop.yaml", yaml)?;
    let extensions = ExtensionSet::from_inventory().unwrap();
    let reader = Reader::new(&extensions);
    reader.read(&document.root, ConfigPath::root(), "example.Workshop").ok_or_else(|| reader.into_report())
}

fn described(yaml: &str) -> Vec<String> {
    let workshop = read(yaml).unwrap_or_else(|report| panic!("{report}"));
    workshop.tools.iter().map(|tool| tool.typed_config.describe()).collect()
}

fn refused(yaml: &str) -> String {
    read(yaml).expect_err("this must be refused").to_string()
}

#[test]
fn the_type_may_stand_first_or_last() {
    let first = r#"{tools: [{typed_config: {"@type": t/example.tools.v3.Hammer, head_weight: 2, nested: [{weight: 7}]}}]}"#;
    let last = r#"{tools: [{typed_config: {head_weight: 2, nested: [{weight: 7}], "@type": t/example.tools.v3.Hammer}}]}"#;
    assert_eq!(described(first), ["hammer (2) with nails [7]"]);
    assert_eq!(described(first), described(last));

    let message = |yaml: &str| refused(yaml).split_once(" error: ").unwrap().1.to_owned();
    let first =
        message(r#"{tools: [{typed_config: {"@type": t/example.tools.v3.Hammer, head_weight: two}}]}"#);
    let last =
        message(r#"{tools: [{typed_config: {head_weight: two, "@type": t/example.tools.v3.Hammer}}]}"#);
    assert_eq!(first, last);
}

#[test]
fn only_the_end_of_the_url_and_its_aliases_count_and_the_name_is_free() {
    let tool =
        |name: &str, url: &str| format!("{{tools: [{{name: {name}, typed_config: {{\"@type\": {url}}}}}]}}");
    let hammer = ["hammer (0) with nails []"];
    assert_eq!(described(&tool("a", "type.googleapis.com/example.tools.v3.Hammer")), hammer);
    assert_eq!(described(&tool("hammertime", "example.com/some/path/example.tools.v3.Hammer")), hammer);
    assert_eq!(described(&tool("example.tools.saw", "type.googleapis.com/example.tools.v2.Hammer")), hammer);
    assert_eq!(described("{tools: [{typedConfig: {\"@type\": t/example.tools.v3.Saw}}]}"), ["saw"]);
}

#[test]
fn extensions_nest() {
    let nested = "
tools:
- typed_config:
    '@type': type.googleapis.com/example.tools.v3.Hammer
    headWeight: '3'
    timeout: 0.25s
    spare:
      name: spare
      typed_config:
        '@type': type.googleapis.com/example.tools.v3.Hammer
        material:
          '@type': type.googleapis.com/example.materials.v3.Wood
";
    assert_eq!(
        described(nested),
        ["hammer (3) with nails [], spare: hammer of Wood (0) with nails [] for 250ms"]
    );
}

#[test]
fn all_errors_come_at_once_with_their_places() {
    let report = refused(
        "name: [shop]
tools:
- name: one
  typed_config:
    '@type': type.googleapis.com/example.tools.v3.Hammer
    head_wieght: 3
    nested:
    - weight: 1
    - weight: heavy
      colour: red
    timeout: 1x
- name: two
  typed_config:
    '@type': type.googleapis.com/example.tools.v3.Hamer
- name: three
- name: four
  typed_config:
    '@type': type.googleapis.com/example.tools.v3.Saw
    teeth: 32
  spare: 1
- name: five
  typed_config:
    '@type': type.googleapis.com/example.tools.v3.Hammer
    spare:
      typed_config:
        '@type': type.googleapis.com/example.materials.v3.Wood
    material:
      '@type': type.googleapis.com/example.materials.v3.Wood
      knots: 1
",
    );
    insta::assert_snapshot!(report, @r#"
    shop.yaml:1:7: error: name: expected a text, not a list
    shop.yaml:6:5: error: tools[0].typed_config.head_wieght: unknown field "head_wieght"; did you mean `head_weight`?
    shop.yaml:9:15: error: tools[0].typed_config.nested[1].weight: expected a whole number, not `heavy`
    shop.yaml:10:7: error: tools[0].typed_config.nested[1].colour: unknown field "colour"; known: weight
    shop.yaml:11:14: error: tools[0].typed_config.timeout: expected a duration in seconds such as `5s` or `0.25s`, not `1x`; a duration ends with a single `s`
    shop.yaml:14:14: error: tools[1].typed_config: unknown tool type `example.tools.v3.Hamer`: did you mean `example.tools.v3.Hammer`? (linked: example.tools.v3.Hammer, example.tools.v3.Saw)
    shop.yaml:15:3: error: tools[2]: `typed_config` is missing
    shop.yaml:19:5: error: tools[3].typed_config.teeth: unknown field "teeth"; this message has no fields
    shop.yaml:20:3: error: tools[3].spare: unknown field "spare"; known: name, typed_config
    shop.yaml:26:18: error: tools[4].typed_config.spare.typed_config: unknown tool type `example.materials.v3.Wood`: it is a material (linked: example.tools.v3.Hammer, example.tools.v3.Saw)
    shop.yaml:29:7: error: tools[4].typed_config.material.knots: unknown field "knots"; this message has no fields
    "#);
}

#[test]
fn an_unknown_type_says_what_would_be_right() {
    let message = |type_name: &str| {
        refused(&format!("{{tools: [{{typed_config: {{\"@type\": type.googleapis.com/{type_name}}}}}]}}"))
    };
    insta::assert_snapshot!(message("foo.v3.Bar"), @"shop.yaml:1:35: error: tools[0].typed_config: unknown tool type `foo.v3.Bar` (linked: example.tools.v3.Hammer, example.tools.v3.Saw)");
    insta::assert_snapshot!(message("example.tools.v3.Hamer"), @"shop.yaml:1:35: error: tools[0].typed_config: unknown tool type `example.tools.v3.Hamer`: did you mean `example.tools.v3.Hammer`? (linked: example.tools.v3.Hammer, example.tools.v3.Saw)");
    insta::assert_snapshot!(message("example.materials.v3.Wood"), @"shop.yaml:1:35: error: tools[0].typed_config: unknown tool type `example.materials.v3.Wood`: it is a material (linked: example.tools.v3.Hammer, example.tools.v3.Saw)");
    insta::assert_snapshot!(message("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"), @"shop.yaml:1:35: error: tools[0].typed_config: unknown tool type `envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`: the crate underpass-ext-tcp-proxy provides it, which `use underpass_ext_tcp_proxy as _;` links (linked: example.tools.v3.Hammer, example.tools.v3.Saw)");
    insta::assert_snapshot!(message("envoy.extensions.filters.network.redis_proxy.v3.RedisProxy"), @"shop.yaml:1:35: error: tools[0].typed_config: unknown tool type `envoy.extensions.filters.network.redis_proxy.v3.RedisProxy`: Envoy knows this type, Underpass does not implement it yet (linked: example.tools.v3.Hammer, example.tools.v3.Saw)");
    insta::assert_snapshot!(refused("{tools: [{typed_config: {}}]}"), @"shop.yaml:1:25: error: tools[0].typed_config: `@type` is missing: it names the type of this config");
    insta::assert_snapshot!(refused("{tools: [{typed_config: hammer}]}"), @"shop.yaml:1:25: error: tools[0].typed_config: expected a typed config, a map with `@type`, not `hammer`");
    insta::assert_snapshot!(refused("{tools: [{name: hammer}]}"), @"shop.yaml:1:10: error: tools[0]: `typed_config` is missing");
}

#[test]
fn two_crates_that_claim_one_type_fail_naming_both() {
    const HAMMER: Registration = Registration {
        category: "tool",
        name: "example.tools.hammer",
        type_names: &["example.tools.v3.Hammer"],
        provider: "underpass-tools",
        doc: "",
        fields: fields_of::<Hammer>,
        read: |node| node.read::<Hammer>(),
    };
    static FIRST: Registration = HAMMER;
    static SECOND: Registration = Registration { provider: "acme-tools", name: "acme.hammer", ..HAMMER };
    static MATERIAL: Registration =
        Registration { category: "material", provider: "acme-materials", ..HAMMER };
    static CUT: Registration = Registration::named("operator", "CUT", "one", "");
    static CUT_TOO: Registration = Registration::named("operator", "CUT", "other", "");

    let error = ExtensionSet::with([&FIRST, &SECOND]).unwrap_err();
    insta::assert_snapshot!(error, @r#"the tool "example.tools.v3.Hammer" is registered by both acme-tools and underpass-tools; link only one of them"#);
    let claimed = "example.tools.v3.Hammer";
    let expected =
        RegistryError { category: "tool", claimed, first: "acme-tools", second: "underpass-tools" };
    assert_eq!(error, expected);
    assert!(ExtensionSet::with([&FIRST, &MATERIAL]).is_ok(), "one type may serve two categories");
    insta::assert_snapshot!(ExtensionSet::with([&CUT, &CUT_TOO]).unwrap_err(), @r#"the operator "CUT" is registered by both one and other; link only one of them"#);
}

#[test]
fn a_set_is_a_value_and_knows_only_what_was_put_in() {
    let linked = ExtensionSet::from_inventory().unwrap();
    let set = ExtensionSet::with([linked.find("tool", "example.tools.v3.Saw").unwrap()]).unwrap();
    let node = |name: &str| {
        parse_yaml("f", &format!("{{'@type': type.googleapis.com/example.tools.v3.{name}}}")).unwrap().root
    };
    let tool = set.resolve::<dyn ToolConfig>(&node("Saw"), ConfigPath::root()).unwrap();
    assert_eq!(tool.describe(), "saw");
    let refused =
        set.resolve::<dyn ToolConfig>(&node("Hammer"), ConfigPath::root().field("tool")).unwrap_err();
    insta::assert_snapshot!(refused, @"f:1:11: error: tool: unknown tool type `example.tools.v3.Hammer` (linked: example.tools.v3.Saw)");
}

#[test]
fn typed_structs_take_the_same_path() {
    for wrapper in ["xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct"] {
        let wrapped = format!(
            "
tools:
- typed_config:
    '@type': type.googleapis.com/{wrapper}
    type_url: type.googleapis.com/example.tools.v3.Hammer
    value: {{headWeight: 5}}"
        );
        assert_eq!(described(&wrapped), ["hammer (5) with nails []"]);
    }
    let report = refused(
        "
tools:
- typed_config:
    '@type': type.googleapis.com/xds.type.v3.TypedStruct
    type_url: type.googleapis.com/example.tools.v3.Hammer
    value: {nested: [{weight: -1}], handle: long}
    colour: red
- typed_config:
    '@type': type.googleapis.com/xds.type.v3.TypedStruct
    type_url: type.googleapis.com/example.tools.v3.Axe
- typed_config:
    '@type': type.googleapis.com/xds.type.v3.TypedStruct
",
    );
    insta::assert_snapshot!(report, @r#"
    shop.yaml:6:31: error: tools[0].typed_config.value.nested[0].weight: -1 is out of range: it must be from 0 to 4294967295
    shop.yaml:6:37: error: tools[0].typed_config.value.handle: unknown field "handle"; known: head_weight, nested, spare, material, timeout
    shop.yaml:7:5: error: tools[0].typed_config.colour: unknown field "colour"; known: type_url, value
    shop.yaml:10:15: error: tools[1].typed_config.value: unknown tool type `example.tools.v3.Axe` (linked: example.tools.v3.Hammer, example.tools.v3.Saw)
    shop.yaml:12:5: error: tools[2].typed_config: `type_url` is missing: it names the type of this config
    "#);
}

#[test]
fn what_comes_out_of_an_any_takes_the_same_path() {
    let set = ExtensionSet::from_inventory().unwrap();
    let url = "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener";
    let resolve = |bytes: &[u8]| {
        let tree = decode_any("xds", url, bytes).unwrap();
        set.resolve::<dyn MaterialConfig>(&tree, ConfigPath::root().field("material"))
    };
    // Field 1 is a UInt32Value whose field 1 is the number.
    let felt = resolve(&[0x0a, 2, 0x08, 64]).unwrap();
    assert_eq!(felt.thickness(), Some(64));
    insta::assert_snapshot!(resolve(&[0x0a, 3, 0x08, 0x81, 0x40]).unwrap_err(), @"xds:1:1: error: material.buffer_size_kb: value must be inside range [1, 8192], not 8193");
}

#[test]
fn a_config_type_with_flatten_is_refused() {
    let set = ExtensionSet::from_inventory().unwrap();
    let tree = parse_yaml("f", "{'@type': t/example.materials.v3.Velvet, weight: 1}").unwrap().root;
    insta::assert_snapshot!(set.resolve::<dyn MaterialConfig>(&tree, ConfigPath::root()).unwrap_err(), @"f:1:1: error: the config type of example.materials.velvet is a map or uses #[serde(flatten)], which the config reader forbids because it loses the place of errors");
}

#[test]
fn the_list_tells_category_name_type_and_crate() {
    let set = ExtensionSet::from_inventory().unwrap();
    let ours = set.list().into_iter().filter(|registration| registration.name.starts_with("example."));
    let lines: Vec<String> = ours
        .map(|each| {
            let url = each.type_url().unwrap();
            format!("{} | {} | {url} | {} | {}", each.category, each.name, each.provider, each.doc)
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @"
    material | example.materials.felt | type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener | underpass-core | 
    material | example.materials.velvet | type.googleapis.com/example.materials.v3.Velvet | underpass-core | 
    material | example.materials.wood | type.googleapis.com/example.materials.v3.Wood | underpass-core | 
    tool | example.tools.hammer | type.googleapis.com/example.tools.v3.Hammer | underpass-core | Drives nails.
    tool | example.tools.saw | type.googleapis.com/example.tools.v3.Saw | underpass-core | Cuts wood.
    ");
}

#[test]
fn a_typed_config_remembers_where_it_came_from() {
    let workshop = read(
        "tools:
- name: mine
  typed_config:
    '@type': example.com/example.tools.v2.Hammer
    headWeight: 4
",
    )
    .unwrap();
    let tool = &workshop.tools[0];
    assert_eq!(tool.name, "mine");
    assert_eq!(tool.typed_config.type_url(), "type.googleapis.com/example.tools.v3.Hammer");
    assert_eq!(tool.typed_config.path().to_string(), "tools[0].typed_config");
    assert_eq!(tool.typed_config.node().location().to_string(), "shop.yaml:4:5");
    assert_eq!(tool.typed_config.node().get("headWeight").unwrap().as_text(), Some("4"));
    let shared: Arc<dyn ToolConfig> = Arc::clone(tool.typed_config.config());
    assert_eq!(shared.describe(), "hammer (4) with nails []");
}
