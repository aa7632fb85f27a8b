//! A text or bytes that stand in the config or somewhere else (`envoy/config/core/v3/base.proto`).

use std::{env, ffi::OsString, fs, io};

use serde::Deserialize;

use crate::config::ByteString;

/// `envoy.config.core.v3.DataSource`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataSource {
    /// The content of a file.
    Filename(String),
    /// Bytes in the config.
    InlineBytes(ByteString),
    /// A text in the config.
    InlineString(String),
    /// The value of an environment variable.
    EnvironmentVariable(String),
}

/// Why a [`DataSource`] has no data.
#[derive(Debug, thiserror::Error)]
pub enum DataSourceError {
    /// The file cannot be read.
    #[error("cannot read the file {name:?}: {source}")]
    File {
        /// Its name.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// The environment variable is not there.
    #[error("the environment variable {0:?} is not set")]
    EnvironmentVariable(String),
    /// A text was wanted, and it is none.
    #[error("the data is no UTF-8 text")]
    NotText,
}

impl DataSource {
    /// The bytes, read anew on each call.
    ///
    /// # Errors
    /// If the file or the environment variable cannot be read.
    pub fn load(&self) -> Result<Vec<u8>, DataSourceError> {
        match self {
            Self::Filename(name) => {
                fs::read(name).map_err(|source| DataSourceError::File { name: name.clone(), source })
            }
            Self::InlineBytes(bytes) => Ok(bytes.to_vec()),
            Self::InlineString(text) => Ok(text.clone().into_bytes()),
            Self::EnvironmentVariable(name) => env::var_os(name)
                .map(OsString::into_encoded_bytes)
                .ok_or_else(|| DataSourceError::EnvironmentVariable(name.clone())),
        }
    }

    /// The text, read anew on each call.
    ///
    /// # Errors
    /// As [`load`](Self::load), and if it is no UTF-8.
    pub fn load_text(&self) -> Result<String, DataSourceError> {
        String::from_utf8(self.load()?).map_err(|_| DataSourceError::NotText)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_comes_from_wherever_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("data");
        fs::write(&file, [0xff, 0x00]).unwrap();
        let file = DataSource::Filename(file.to_str().unwrap().to_owned());
        assert_eq!(file.load().unwrap(), [0xff, 0x00]);
        assert_eq!(file.load_text().unwrap_err().to_string(), "the data is no UTF-8 text");
        assert_eq!(DataSource::InlineBytes(ByteString(vec![7])).load().unwrap(), [7]);
        assert_eq!(DataSource::InlineString("x".to_owned()).load_text().unwrap(), "x");
        // Cargo sets this one for every test.
        let variable = DataSource::EnvironmentVariable("CARGO_PKG_NAME".to_owned());
        assert_eq!(variable.load_text().unwrap(), "underpass-core");
    }

    #[test]
    fn what_is_not_there_is_named() {
        let missing = DataSource::Filename("/no/such/file".to_owned()).load().unwrap_err();
        assert_eq!(
            missing.to_string(),
            r#"cannot read the file "/no/such/file": No such file or directory (os error 2)"#
        );
        let unset = DataSource::EnvironmentVariable("UNDERPASS_NO_SUCH".to_owned()).load().unwrap_err();
        assert_eq!(unset.to_string(), r#"the environment variable "UNDERPASS_NO_SUCH" is not set"#);
    }
}
