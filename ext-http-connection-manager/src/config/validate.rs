//! What Envoy refuses although each field by itself is right.

use underpass_core::{
    build_context::{BuildContext, BuildError},
    config::one_of,
    config_subscription,
};

use super::{CodecType, HttpConnectionManager};

impl HttpConnectionManager {
    /// Checks what concerns several fields.
    ///
    /// # Errors
    /// What Envoy refuses, in its words.
    pub fn validate(&self, context: &BuildContext<'_>) -> Result<(), BuildError> {
        if self.codec_type == CodecType::Http3 {
            let message = "HTTP/3 codec configured on non-QUIC listener.";
            return Err(context.error_at("codec_type", message));
        }
        if self.strip_matching_host_port && self.strip_any_host_port {
            let message =
                "Error: Only one of `strip_matching_host_port` or `strip_any_host_port` can be set.";
            return Err(context.error_at("strip_any_host_port", message));
        }
        let scheme = &self.scheme_header_transformation;
        let set = [
            ("scheme_to_overwrite", scheme.scheme_to_overwrite.is_some()),
            ("match_upstream", scheme.match_upstream),
        ];
        if let Err(message) = one_of("transformation", &set) {
            return Err(context.error_at("scheme_header_transformation", message));
        }
        if let Some(rds) = &self.rds {
            let path = context.path().field("rds").field("config_source");
            config_subscription::check(&rds.config_source, &path, context.server)?;
            if let Some(warning) = config_subscription::deprecation(&rds.config_source, &path) {
                context.warn(warning);
            }
        }
        self.validate_access_log_options(context)?;
        self.validate_upgrades(context)?;
        if self
            .set_current_client_cert_details
            .is_some_and(|it| it != super::SetCurrentClientCertDetails::default())
        {
            let message =
                "is about client certificates, which no connection has without TLS: it has no effect";
            context.warn(context.error_at("set_current_client_cert_details", message));
        }
        if self.add_proxy_protocol_connection_state == Some(false) {
            let message = "has no effect: an upstream PROXY header is made from the addresses of the stream";
            context.warn(context.error_at("add_proxy_protocol_connection_state", message));
        }
        Ok(())
    }

    fn validate_access_log_options(&self, context: &BuildContext<'_>) -> Result<(), BuildError> {
        if self.access_log_options.is_none() {
            return Ok(());
        }
        let old = [
            ("access_log_flush_interval", self.access_log_flush_interval.is_some()),
            ("flush_access_log_on_new_request", self.flush_access_log_on_new_request),
        ];
        match old.iter().find(|(_, set)| *set) {
            Some((field, _)) => {
                let message = format!("Only one of {field} or access_log_options can be specified.");
                Err(context.error_at(field, message))
            }
            None => Ok(()),
        }
    }

    fn validate_upgrades(&self, context: &BuildContext<'_>) -> Result<(), BuildError> {
        for (index, upgrade) in self.upgrade_configs.iter().enumerate() {
            let same = |other: &&super::UpgradeConfig| {
                other.upgrade_type.eq_ignore_ascii_case(&upgrade.upgrade_type)
            };
            if self.upgrade_configs[..index].iter().find(same).is_some() {
                let name = &upgrade.upgrade_type;
                let message = format!("Error: multiple upgrade configs with the same name: '{name}'");
                return Err(BuildError::at(context.path().field("upgrade_configs").index(index), message));
            }
        }
        Ok(())
    }
}
