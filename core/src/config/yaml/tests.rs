use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Document {
    parse_yaml("f.yaml", text).unwrap_or_else(|report| panic!("{report}"))
}

fn json(text: &str) -> String {
    parse(text).root.to_json().to_string()
}

fn refused(text: &str) -> String {
    parse_yaml("f.yaml", text).unwrap_err().to_string()
}

#[test]
fn every_node_and_key_knows_its_place() {
    let document = parse("a:\n  - x\n  - {b: \"ü\", cc: 1}\n");
    let list = document.root.entry("a").unwrap();
    assert_eq!(list.location().to_string(), "f.yaml:1:1");
    assert_eq!(list.value.location().to_string(), "f.yaml:2:3");
    let map = &list.value.elements()[1];
    assert_eq!(map.location().to_string(), "f.yaml:3:5");
    assert_eq!(map.entry("cc").unwrap().location().to_string(), "f.yaml:3:14");
    assert_eq!(map.get("cc").unwrap().location().to_string(), "f.yaml:3:18");
}

#[test]
fn a_path_leads_back_to_its_place() {
    let document = parse(
        "static_resources:\n  listeners:\n  - name: a\n    metadata: {filter_metadata: {x.y: {k: 1}}}\n",
    );
    let listener = ConfigPath::root().field("static_resources").field("listeners").index(0);
    let located = |path: &ConfigPath| document.locate(path).to_string();
    assert_eq!(located(&listener.field("name")), "f.yaml:3:11");
    assert_eq!(located(&listener.field("metadata").field("filter_metadata").key("x.y")), "f.yaml:4:39");
    assert_eq!(
        located(&listener.field("address")),
        "f.yaml:3:5",
        "what is absent is looked for in its parent"
    );
    assert_eq!(parse("{statPrefix: x}").locate(&ConfigPath::root().field("stat_prefix")).mark.column, 14);
}

#[test]
fn json_is_yaml_too() {
    assert_eq!(
        json("{\"a\": [1, 2.5, \"3\", true, null], \"b\": {\"c\": \"\\u00e9\"}}"),
        r#"{"a":[1,2.5,"3",true,null],"b":{"c":"é"}}"#
    );
}

#[test]
fn a_text_without_content_is_null() {
    assert_eq!(json(""), "null");
    assert_eq!(json("# nothing\n"), "null");
    assert_eq!(json("\u{feff}a: 1"), r#"{"a":1}"#);
}

#[test]
fn words_stay_text_until_somebody_wants_more() {
    let document = parse("{a: y, b: 'y', c: ~, d: 010, e: !!str 5, f: ! 5, g: !!int \"5\", h: }");
    let plain = |key: &str| match &document.root.get(key).unwrap().value {
        NodeValue::Scalar { text, plain } => format!("{text} {plain}"),
        other => format!("{other:?}"),
    };
    let all: Vec<String> = ["a", "b", "c", "d", "e", "f", "g", "h"].map(plain).into();
    assert_eq!(all, ["y true", "y false", "Null", "010 true", "5 false", "5 false", "5 true", "Null"]);
}

#[test]
fn anchors_aliases_and_merge_keys_work_as_in_yaml() {
    assert_eq!(json("{a: &x {k: 1}, b: *x}"), r#"{"a":{"k":1},"b":{"k":1}}"#);
    let merged = "
base: &base {a: 1, b: 1}
other: &other {b: 2, c: 2}
one: {<<: *base, b: 3}
both: {<<: [*base, *other], d: 4}
quoted: {\"<<\": 1}
";
    let root = parse(merged).root;
    let json = |key: &str| root.get(key).unwrap().to_json().to_string();
    assert_eq!(json("one"), r#"{"a":1,"b":3}"#);
    assert_eq!(json("both"), r#"{"a":1,"b":1,"c":2,"d":4}"#);
    assert_eq!(json("quoted"), r#"{"<<":1}"#);
}

#[test]
fn envoys_ignore_tag_drops_a_key() {
    assert_eq!(json("!ignore templates: [&t {name: x}]\nused: *t"), r#"{"used":{"name":"x"}}"#);
}

#[test]
fn what_a_config_cannot_be_is_refused_with_its_place() {
    insta::assert_snapshot!(refused("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\na: 2\n"), @r#"
    f.yaml:5:3: error: duplicate key "c": it stands already in line 3
    f.yaml:6:1: error: duplicate key "a": it stands already in line 1
    "#);
    insta::assert_snapshot!(refused("? [a]\n: 1\n"), @"f.yaml:1:3: error: a key is a name, not a list");
    insta::assert_snapshot!(refused("{~: 1}"), @"f.yaml:1:2: error: a key is a name, not nothing");
    insta::assert_snapshot!(refused("a: 1\n---\nb: 1\n"), @"f.yaml:2:1: error: a second document begins here; a config is one document");
    insta::assert_snapshot!(refused("a: !secret x\nb: !!set {}\n"), @"
    f.yaml:1:4: error: the YAML tag `!secret` has no meaning in a config
    f.yaml:2:4: error: the YAML tag `!!set` has no meaning in a config
    ");
    insta::assert_snapshot!(refused("a: &a [*a]\n"), @"f.yaml:1:8: error: this alias stands inside the node that it refers to");
    insta::assert_snapshot!(refused("<<: 1\n"), @"f.yaml:1:1: error: `<<` merges a map or a list of maps, not `1`");
    insta::assert_snapshot!(refused("a: *b\n"), @"f.yaml:1:4: error: this is no valid YAML: while parsing node, found unknown anchor");
    insta::assert_snapshot!(refused("a: [1, 2\nb: 1\n"), @"f.yaml:2:2: error: this is no valid YAML: illegal placement of ':' indicator");
    insta::assert_snapshot!(refused("a:\n\t- 1\n"), @"f.yaml:2:2: error: this is no valid YAML: tabs disallowed within this context (block indentation)");
}

#[test]
fn bombs_do_not_explode() {
    let level = |level: usize, inside: &str| format!("a{level}: &a{level} [{}]\n", [inside; 9].join(", "));
    let laughs: Vec<String> = (1..10).map(|depth| level(depth, &format!("*a{}", depth - 1))).collect();
    let laughs = level(0, "lol") + &laughs.concat();
    insta::assert_snapshot!(refused(&laughs), @"f.yaml:7:10: error: the aliases up to here stand for more than 1000000 nodes");
    insta::assert_snapshot!(refused(&"[".repeat(10_000)), @"f.yaml:1:256: error: this is no valid YAML: recursion limit exceeded");
    let deep = (0..99).fold("&x0 {}".to_owned(), |inner, _| format!("[{inner}]"));
    insta::assert_snapshot!(refused(&format!("{{a: &d {deep}, b: *d}}")), @"f.yaml:1:107: error: more than 100 levels are nested here");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC*") {
        let _parsed_or_refused = parse_yaml("f", &text);
    }

    #[test]
    fn nothing_that_looks_like_yaml_makes_it_panic(text in "[-?:,\\[\\]{}#&*!|>'\"%@` \n\ta-c0<~]{0,60}") {
        let _parsed_or_refused = parse_yaml("f", &text);
    }

    #[test]
    fn what_json_can_say_comes_back(text in "[ -~é\n\t]{0,20}", number in any::<i64>(), flag in any::<bool>()) {
        let value = serde_json::json!({ "text": text, "list": [number, flag, null], "map": { "k": text } });
        prop_assert_eq!(parse(&value.to_string()).root.to_json(), value);
    }
}
