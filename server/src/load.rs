//! From the command line's files and texts to a typed bootstrap, with everything that is wrong in one report.

use std::{io, path::PathBuf};

use underpass_core::{
    config::{self, ConfigPath, Document, NodeValue, Reader, Report},
    extension::ExtensionSet,
};

use crate::{
    command_line::Options,
    config::{Bootstrap, HARMLESS, deprecated_http_options::upgrade_bootstrap},
};

/// The Envoy name of the message that a configuration file holds.
const BOOTSTRAP: &str = "envoy.config.bootstrap.v3.Bootstrap";

/// A configuration that was read.
#[derive(Debug)]
pub struct Loaded {
    /// The typed configuration.
    pub bootstrap: Bootstrap,
    /// The tree it was read from: for `/config_dump`, and to find the line of a path.
    pub document: Document,
    /// What deserves a word but is no error.
    pub warnings: Report,
}

/// Why a configuration could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Nothing was given.
    #[error("At least one of --config-path or --config-yaml should be non-empty")]
    Nothing,
    /// The file does not exist.
    #[error("Invalid path: {}", .0.display())]
    InvalidPath(PathBuf),
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It is empty, or has nothing but comments.
    #[error(
        "{0} is empty: a configuration is a map of fields, such as static_resources; write {{}} for none"
    )]
    Empty(String),
    /// Something is wrong in it.
    #[error(transparent)]
    Report(#[from] Report),
}

/// Reads the configuration that the command line names.
pub fn load(options: &Options, extensions: &ExtensionSet) -> Result<Loaded, LoadError> {
    let document = read_tree(options)?;
    let reader =
        Reader::new(extensions).harmless(HARMLESS).allow_unknown_fields(options.allow_unknown_static_fields);
    let root = upgrade_bootstrap(&document.root);
    let bootstrap = reader.read::<Bootstrap>(&root, ConfigPath::root(), BOOTSTRAP);
    let mut report = reader.into_report();
    if let Some(bootstrap) = &bootstrap {
        bootstrap.overload_manager.check(&mut report);
    }
    match bootstrap {
        Some(bootstrap) if !report.has_errors() => Ok(Loaded { bootstrap, document, warnings: report }),
        _ => Err(LoadError::Report(report)),
    }
}

fn read_tree(options: &Options) -> Result<Document, LoadError> {
    let file = options
        .config_path
        .as_ref()
        .filter(|path| !path.as_os_str().is_empty())
        .map(read_file)
        .transpose()?;
    let inline = options.config_yaml.as_deref().filter(|text| !text.is_empty());
    let inline = inline.map(|text| parse("--config-yaml", text)).transpose()?;
    match (file, inline) {
        (Some(base), Some(overlay)) => {
            Ok(Document { file: base.file.clone(), root: config::merge(&base.root, &overlay.root) })
        }
        (Some(document), None) | (None, Some(document)) => Ok(document),
        (None, None) => Err(LoadError::Nothing),
    }
}

fn read_file(path: &PathBuf) -> Result<Document, LoadError> {
    let text = std::fs::read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => LoadError::InvalidPath(path.clone()),
        _ => LoadError::Unreadable { path: path.clone(), error },
    })?;
    let name = path.display().to_string();
    match String::from_utf8(text) {
        Ok(text) => parse(&name, &text),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let message = format!("the file is not UTF-8: byte {at} is the first that is not");
            Err(LoadError::Unreadable {
                path: path.clone(),
                error: io::Error::new(io::ErrorKind::InvalidData, message),
            })
        }
    }
}

fn parse(name: &str, text: &str) -> Result<Document, LoadError> {
    let document = config::parse_yaml(name, text)?;
    match document.root.value {
        NodeValue::Null => Err(LoadError::Empty(name.to_owned())),
        _ => Ok(Document { root: config::known::complete_lists(BOOTSTRAP, &document.root), ..document }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_texts(file: Option<&str>, inline: Option<&str>) -> Result<Loaded, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.yaml");
        let mut arguments = vec!["underpass".to_owned()];
        if let Some(text) = file {
            std::fs::write(&path, text).unwrap();
            arguments.extend(["-c".to_owned(), path.display().to_string()]);
        }
        if let Some(text) = inline {
            arguments.extend(["--config-yaml".to_owned(), text.to_owned()]);
        }
        let options = Options::parse_from_args(arguments).unwrap();
        let loaded = load(&options, &ExtensionSet::with([]).unwrap());
        loaded.map_err(|error| error.to_string().replace(&path.display().to_string(), "x.yaml"))
    }

    #[test]
    fn nothing_to_read_is_said() {
        assert!(load_texts(None, None).unwrap_err().contains("--config-path or --config-yaml"));
    }

    #[test]
    fn a_file_without_content_is_no_configuration() {
        for empty in ["", "# nothing\n", "null\n"] {
            let error = load_texts(Some(empty), None).unwrap_err();
            assert!(error.starts_with("x.yaml is empty"), "{error}");
        }
        assert!(load_texts(Some("{}"), None).is_ok());
    }

    #[test]
    fn inline_yaml_is_merged_over_the_file() {
        let file = "static_resources: {clusters: [{name: a}]}";
        let loaded = load_texts(Some(file), Some("static_resources: {clusters: [{name: b}]}")).unwrap();
        let names: Vec<_> =
            loaded.bootstrap.static_resources.clusters.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn every_problem_of_a_file_is_reported_with_its_line() {
        let text =
            "stats_config: {stats_tag: []}\nstatic_resources:\n  clusters:\n  - {name: b, type: STATICC}\n";
        insta::assert_snapshot!(load_texts(Some(text), None).unwrap_err(), @r#"
        x.yaml:1:16: error: stats_config.stats_tag: unknown field "stats_tag"; did you mean `stats_tags`?
        x.yaml:4:21: error: static_resources.clusters[0].type: unknown value `STATICC`; did you mean `STATIC`? Possible: STATIC, STRICT_DNS, LOGICAL_DNS, EDS, ORIGINAL_DST
        "#);
    }
}
