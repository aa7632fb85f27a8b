//! What a route can say of a filter.

use underpass_core::{
    config::{Reader, parse_yaml},
    extension::ExtensionSet,
    testing::TestServer,
};

use super::*;

/// A message for routes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Word {
    word: String,
}

#[extension(name = "test.word", type_url = "type.googleapis.com/test.Word")]
impl RouteFilterConfig for Word {
    fn build(&self, context: &HttpFilterContext<'_>) -> Result<Arc<dyn Any + Send + Sync>, BuildError> {
        Ok(Arc::new(format!("{} for {}", self.word, context.name)))
    }
}

#[derive(Deserialize)]
struct Host {
    typed_per_filter_config: TypedPerFilterConfig,
}

fn read(config: &str) -> Result<PerFilterConfigs, String> {
    let document = parse_yaml("f.yaml", &format!("typed_per_filter_config: {{f: {config}}}")).unwrap();
    let extensions = ExtensionSet::from_inventory().unwrap();
    let reader = Reader::new(&extensions);
    let host: Option<Host> =
        reader.read(&document.root, ConfigPath::root(), "envoy.config.route.v3.RouteConfiguration");
    let Some(host) = host else { return Err(reader.into_report().to_string()) };
    let path = ConfigPath::root().field("typed_per_filter_config");
    let built = TestServer::default().build("", |build| {
        let context = HttpFilterContext { build, name: "", stat_prefix: "" };
        host.typed_per_filter_config.build(&path, &context)
    });
    built.map_err(|error| error.to_string())
}

/// What it says of the filter, and whether it turns it off.
fn of(config: &str) -> (Option<String>, Option<bool>) {
    let configs = read(config).unwrap();
    let word = configs.get("f").map(|config| config.downcast_ref::<String>().unwrap().clone());
    (word, configs.disabled("f"))
}

#[test]
fn a_filter_gets_a_configuration_or_is_turned_off_or_on() {
    let wrapped = |fields: &str| of(&format!("{{'@type': x/envoy.config.route.v3.FilterConfig, {fields}}}"));
    let word = || Some("w for f".to_owned());
    assert_eq!(of("{'@type': x/test.Word, word: w}"), (word(), Some(false)));
    assert_eq!(wrapped("config: {'@type': x/test.Word, word: w}"), (word(), Some(false)));
    assert_eq!(wrapped("config: {'@type': x/test.Word, word: w}, disabled: true"), (None, Some(true)));
    assert_eq!(wrapped("config: {}"), (None, Some(false)));
    assert_eq!(
        wrapped("config: {'@type': x/envoy.config.core.v3.Metadata}, is_optional: true"),
        (None, Some(false))
    );
    let nothing = PerFilterConfigs::default();
    assert_eq!((nothing.disabled("f"), nothing.get("f").is_some()), (None, false));
}

#[test]
fn what_is_of_no_use_is_refused() {
    let refused = |config: &str| read(config).unwrap_err();
    insta::assert_snapshot!(refused("{'@type': x/envoy.config.route.v3.FilterConfig}"), @r#"typed_per_filter_config["f"]: Empty route/virtual host per filter configuration for f filter"#);
    insta::assert_snapshot!(refused("{'@type': x/envoy.config.core.v3.Metadata}"), @r#"typed_per_filter_config["f"]: unknown HTTP filter configuration of a route type `envoy.config.core.v3.Metadata`: Envoy knows this type, Underpass does not implement it yet (linked: envoy.config.route.v3.FilterConfig, test.Marks, test.Word)"#);
    insta::assert_snapshot!(refused("{'@type': x/envoy.config.route.v3.FilterConfig, config: {'@type': x/envoy.config.core.v3.Metadata}}"), @r#"typed_per_filter_config["f"].config: unknown HTTP filter configuration of a route type `envoy.config.core.v3.Metadata`: Envoy knows this type, Underpass does not implement it yet (linked: envoy.config.route.v3.FilterConfig, test.Marks, test.Word)"#);
    insta::assert_snapshot!(refused("{'@type': x/envoy.config.route.v3.FilterConfig, config: {'@type': x/envoy.config.route.v3.FilterConfig}}"), @r#"typed_per_filter_config["f"].config: a FilterConfig cannot stand in another one"#);
}
