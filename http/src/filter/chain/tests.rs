//! Which chains are refused, and how a request goes through one.

use std::{
    any::Any,
    sync::{Mutex, PoisonError},
};

use underpass_core::{
    config::{Reader, parse_yaml},
    extension,
    extension::ExtensionSet,
    testing::TestServer,
};

use super::*;
use crate::{filter::RouteFilterConfig, local_reply::local_reply, testing};

/// Notes in the header `seen` that it saw a request; in that of an answer, that it saw the answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Marks {
    mark: String,
    refuse: bool,
}

struct MarksFilter {
    mark: String,
    refuse: bool,
}

impl MarksFilter {
    fn mark(&self, response: &mut Response) {
        response.headers_mut().append("seen", self.mark.parse().unwrap());
    }
}

#[extension(name = "test.marks", type_url = "type.googleapis.com/test.Marks")]
impl HttpFilterConfig for Marks {
    fn build(&self, _: &HttpFilterContext<'_>) -> Result<Arc<dyn HttpFilter>, BuildError> {
        Ok(Arc::new(MarksFilter { mark: self.mark.clone(), refuse: self.refuse }))
    }
}

#[extension(name = "test.marks", type_url = "type.googleapis.com/test.Marks")]
impl RouteFilterConfig for Marks {
    fn build(&self, _: &HttpFilterContext<'_>) -> Result<Arc<dyn Any + Send + Sync>, BuildError> {
        Ok(Arc::new(self.mark.clone()))
    }
}

impl HttpFilter for MarksFilter {
    fn serve<'a>(
        &'a self,
        stream: &'a Rc<HttpStream>,
        body: Body,
        next: Next<'a>,
    ) -> BoxFuture<'a, Response> {
        Box::pin(async move {
            let mut response = if self.refuse {
                next.reply(stream, local_reply(stream, http::StatusCode::FORBIDDEN, "no", "refused"))
            } else {
                next.run(stream, body).await
            };
            self.mark(&mut response);
            response
        })
    }

    fn local_reply(&self, _: &HttpStream, response: &mut Response) {
        self.mark(response);
    }
}

/// Answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ends {}

#[extension(name = "test.ends", type_url = "type.googleapis.com/test.Ends")]
impl HttpFilterConfig for Ends {
    fn is_terminal(&self) -> bool {
        true
    }

    fn build(&self, _: &HttpFilterContext<'_>) -> Result<Arc<dyn HttpFilter>, BuildError> {
        Ok(testing::upstream(|_, _| Response::new(Body::empty())))
    }
}

#[derive(Deserialize)]
struct Filters {
    http_filters: Vec<HttpFilterEntry>,
}

/// The chain with these entries, or what is wrong with it; and the warnings.
fn chain(entries: &[&str]) -> (Result<FilterChain, String>, Vec<String>) {
    let list = entries.iter().map(|entry| format!("\n- {entry}")).collect::<Vec<_>>().concat();
    let document =
        parse_yaml("f.yaml", &format!("http_filters:{}", if list.is_empty() { " []" } else { &list }));
    let extensions = ExtensionSet::from_inventory().unwrap();
    let reader = Reader::new(&extensions);
    let read: Option<Filters> = reader.read(&document.unwrap().root, ConfigPath::root(), "test.Chain");
    let Some(read) = read else { return (Err(reader.into_report().to_string()), Vec::new()) };
    let (server, warnings) = (TestServer::default(), Mutex::default());
    let path = ConfigPath::root().field("http_filters");
    let built = server.build("", |context| {
        let noted = std::cell::RefCell::default();
        let scope = context.server.stats.clone();
        let context = BuildContext::new(context.server, &scope, ConfigPath::root(), &noted);
        let built = FilterChain::build(&read.http_filters, &path, "http", "http.test.", &context);
        let noted = noted.take().iter().map(ToString::to_string).collect();
        *warnings.lock().unwrap_or_else(PoisonError::into_inner) = noted;
        built
    });
    (built.map_err(|error| error.to_string()), warnings.into_inner().unwrap())
}

const ENDS: &str = "{name: end, typed_config: {'@type': x/test.Ends}}";

fn marks(mark: &str, fields: &str) -> String {
    format!("{{name: {mark}, typed_config: {{'@type': x/test.Marks, mark: {mark}}}, {fields}}}")
}

#[test]
fn the_last_filter_and_no_other_is_terminal() {
    let refused = |entries: &[&str]| chain(entries).0.err().unwrap_or_default();
    let (a, disabled) = (marks("a", ""), "{name: end, typed_config: {'@type': x/test.Ends}, disabled: true}");
    insta::assert_snapshot!(refused(&[&a]), @"http_filters[0]: Error: non-terminal filter named a of type test.marks is the last filter in a http filter chain.");
    insta::assert_snapshot!(refused(&[ENDS, &a]), @"http_filters[0]: Error: terminal filter named end of type test.ends must be the last filter in a http filter chain.");
    insta::assert_snapshot!(refused(&[disabled]), @"http_filters[0]: Error: the last (terminal) filter (end) in the chain cannot be disabled by default.");
    insta::assert_snapshot!(refused(&["{name: a}", ENDS]), @"http_filters[0]: Didn't find a registered implementation for 'a' with type URL: ''; typed_config is required");
    insta::assert_snapshot!(chain(&[]).1.join("\n"), @"http_filters: a chain without filters answers no request");
    assert!(chain(&[&a, &a, ENDS]).0.is_ok(), "names need not differ");
}

#[test]
fn an_optional_filter_of_an_unknown_type_is_left_out() {
    // Known to Envoy, and no filter.
    let unknown = "{name: a, typed_config: {'@type': x/envoy.config.core.v3.Address}, is_optional: true}";
    let (built, warnings) = chain(&[unknown, ENDS]);
    assert!(built.is_ok());
    insta::assert_snapshot!(warnings.join("\n"), @"http_filters[0].typed_config: the optional filter 'a' is left out: unknown HTTP filter type `envoy.config.core.v3.Address`: Envoy knows this type, Underpass does not implement it yet (linked: test.Ends, test.Marks)");
    insta::assert_snapshot!(chain(&[&unknown.replace("true", "false"), ENDS]).0.err().unwrap(), @"http_filters[0].typed_config: unknown HTTP filter type `envoy.config.core.v3.Address`: Envoy knows this type, Underpass does not implement it yet (linked: test.Ends, test.Marks)");
    insta::assert_snapshot!(chain(&[&unknown.replace("Address", "Adress"), ENDS]).0.err().unwrap(), @"f.yaml:2:37: error: http_filters[0].typed_config: unknown HTTP filter type `envoy.config.core.v3.Adress` (linked: test.Ends, test.Marks)");
}

/// Who saw the answer, and its status.
async fn seen(entries: &[&str], disabled: impl Fn(&str) -> Option<bool>) -> (u16, String) {
    let chain = chain(entries).0.unwrap();
    let server = TestServer::default();
    let stream = testing::stream(&server, testing::request("GET", "/", &[]));
    let response = chain.start(disabled).run(&stream, Body::empty()).await;
    let seen = response.headers().get_all("seen").iter().map(|value| value.to_str().unwrap());
    (response.status().as_u16(), seen.collect::<Vec<_>>().join(" "))
}

#[tokio::test(flavor = "current_thread")]
async fn a_route_turns_filters_on_and_off() {
    let chain = [&*marks("a", ""), &*marks("b", "disabled: true"), &*marks("c", ""), ENDS];
    assert_eq!(seen(&chain, |_| None).await, (200, "c a".into()));
    assert_eq!(seen(&chain, |_| Some(false)).await, (200, "c b a".into()));
    assert_eq!(seen(&chain, |name| (name == "a").then_some(true)).await, (200, "c".into()));
    assert_eq!(seen(&chain, |_| Some(true)).await, (200, String::new()), "the last one always answers");
}

#[tokio::test(flavor = "current_thread")]
async fn an_answer_of_a_filters_own_passes_all_filters() {
    let refuses = marks("b", "").replace("mark: b", "mark: b, refuse: true");
    let chain = [
        &*marks("a", ""),
        &*refuses,
        &*marks("c", ""),
        &*marks("d", "disabled: true"),
        &*marks("e", ""),
        ENDS,
    ];
    assert_eq!(seen(&chain, |_| None).await, (403, "e c b a".into()));
}
