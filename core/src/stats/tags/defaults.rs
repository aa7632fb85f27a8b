//! Envoy's default tags, in Envoy's order (`source/common/config/well_known_names.cc`): the order of the labels in
//! `/stats/prometheus` follows from it.

use std::sync::OnceLock;

use super::tokens::TokenPattern;
use super::{Extractor, Pattern};

/// A tag that only a regex can find. `<…>` stands for one of [`PARTS`].
struct ByRegex {
    tag: &'static str,
    regex: &'static str,
    contains: &'static str,
    except: &'static str,
}

/// What `<…>` in a regex stands for.
const PARTS: &[(&str, &str)] = &[
    // An IPv4 or IPv6 address and its port; colons have become underscores.
    ("<ADDRESS>", r"(?:(?:[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}|\[[a-fA-F_0-9]+\])_[0-9]+)"),
    ("<CIPHER>", "[0-9A-Za-z_-]+"),
    ("<TLS_VERSION>", r"TLSv[0-9]\.[0-9]"),
    ("<WORD>", r"[^.]+"),
    // Names of route configurations may hold dots.
    ("<ROUTE_CONFIG>", r"[0-9A-Za-z_\-./]+"),
    ("<SCOPED_ROUTE_CONFIG>", r"[0-9A-Za-z_\-.]+"),
    ("<LISTENER_OR_CLUSTER>", r"(?:listener|cluster)\..*?"),
];

const fn by_regex(tag: &'static str, regex: &'static str, contains: &'static str) -> ByRegex {
    ByRegex { tag, regex, contains, except: "" }
}

const BY_REGEX: &[ByRegex] = &[
    by_regex("envoy.response_code", "_rq(_([0-9]{3}))$", "_rq_"),
    by_regex("envoy.response_code_class", "_rq_(([0-9]))xx$", "_rq_"),
    by_regex(
        "envoy.dynamo_partition_id",
        r"^http\.<WORD>\.dynamodb\.table\.<WORD>\.capacity\.<WORD>(\.__partition_id=([0-9A-Za-z_]{7}))$",
        ".dynamodb.table.",
    ),
    by_regex(
        "envoy.dynamo_operation",
        r"^http\.<WORD>\.dynamodb.(?:operation|table\.<WORD>\.capacity)(\.(<WORD>))(?:\.|$)",
        ".dynamodb.",
    ),
    by_regex("envoy.dynamo_table", r"^http\.<WORD>\.dynamodb.(?:table|error)\.((<WORD>)\.)", ".dynamodb."),
    by_regex("envoy.ssl_cipher", r"^listener\..*?\.ssl\.ciphers(\.(<CIPHER>))$", ".ssl.ciphers."),
    by_regex("envoy.ssl_curve", r"^<LISTENER_OR_CLUSTER>\.ssl\.curves(\.(<CIPHER>))$", ".ssl.curves."),
    by_regex("envoy.ssl_sigalg", r"^<LISTENER_OR_CLUSTER>\.ssl\.sigalgs(\.(<CIPHER>))$", ".ssl.sigalgs."),
    by_regex(
        "envoy.ssl_version",
        r"^<LISTENER_OR_CLUSTER>\.ssl\.versions(\.(<TLS_VERSION>))$",
        ".ssl.versions.",
    ),
    by_regex("cipher_suite", r"^cluster\.<WORD>\.ssl\.ciphers(\.(<CIPHER>))$", ".ssl.ciphers."),
    by_regex(
        "envoy.health_check_name",
        r"^cluster\.<WORD>\.health_check(\.name\.(<WORD>))\..+",
        ".health_check.name.",
    ),
    by_regex("envoy.http_conn_manager_prefix", r"^listener\..*?\.http\.((<WORD>)\.)", ".http."),
    by_regex(
        "envoy.worker_id",
        r"^(?:listener\.(?:<ADDRESS>|<WORD>)|server|listener_manager|thread_local_cluster_manager)\.worker_(([0-9]+)\.)",
        ".worker_",
    ),
    // The admin listener is no listener of the configuration.
    ByRegex {
        tag: "envoy.listener_address",
        regex: r"^listener\.((<ADDRESS>|<WORD>)\.)",
        contains: "",
        except: "admin",
    },
    by_regex("envoy.rds_route_config", r"^http\.<WORD>\.rds\.((<ROUTE_CONFIG>)\.)[0-9A-Za-z_]+?$", ".rds."),
    by_regex(
        "envoy.scoped_rds_config",
        r"^http\.<WORD>\.scoped_rds\.((<SCOPED_ROUTE_CONFIG>)\.)[0-9A-Za-z_]+?$",
        ".scoped_rds.",
    ),
    by_regex(
        "envoy.rbac_policy_name",
        r"^http\.<WORD>\.rbac\.(?:<WORD>\.)?policy\.((<WORD>)\.)(allowed|shadow_allowed|denied|shadow_denied)$",
        ".rbac.",
    ),
    ByRegex {
        tag: "envoy.rbac_http_prefix",
        regex: r"^http\.<WORD>\.rbac\.((<WORD>)\.).*?",
        contains: ".rbac.",
        except: "policy",
    },
    ByRegex {
        tag: "envoy.proxy_protocol_prefix",
        regex: r"^proxy_proto\.((<WORD>)\.).+$",
        contains: "",
        except: "versions",
    },
    by_regex(
        "envoy.proxy_protocol_version",
        r"^proxy_proto\.((?:<WORD>\.)?versions\.v([0-9])\.)[0-9A-Za-z_]+$",
        ".v",
    ),
    by_regex(
        "envoy.tls_certificate",
        r"^<LISTENER_OR_CLUSTER>\.ssl\.certificate\.((<WORD>)\.).*$",
        ".ssl.certificate",
    ),
    by_regex("envoy.xds_resource_name", r"^sds\.((<WORD>)\.).+", ""),
];

const BY_TOKENS: &[(&str, &str)] = &[
    ("envoy.mongo_callsite", "mongo.*.collection.*.callsite.$.query.**"),
    ("envoy.mongo_collection", "mongo.*.collection.$.**.query.*"),
    ("envoy.mongo_cmd", "mongo.*.cmd.$.**"),
    ("envoy.grpc_bridge_method", "cluster.*.grpc.*.$.**"),
    ("envoy.http_user_agent", "http.*.user_agent.$.**"),
    ("envoy.virtual_cluster", "vhost.*.vcluster.$.**"),
    ("envoy.fault_downstream_cluster", "http.*.fault.$.**"),
    ("envoy.grpc_bridge_service", "cluster.*.grpc.$.**"),
    ("envoy.tcp_prefix", "tcp.$.**"),
    ("envoy.udp_prefix", "udp.$.**"),
    ("envoy.clientssl_prefix", "auth.clientssl.$.**"),
    ("envoy.ratelimit_prefix", "ratelimit.$.**"),
    ("envoy.cluster_name", "cluster.$.**"),
    ("envoy.ext_authz_prefix", "cluster.*.ext_authz.$.**"),
    ("envoy.ext_authz_prefix", "http.*.ext_authz.$.**"),
    ("envoy.http_conn_manager_prefix", "http.$.**"),
    ("envoy.virtual_host", "vhost.$.**"),
    ("envoy.mongo_prefix", "mongo.$.**"),
    ("envoy.route", "vhost.*.route.$.**"),
    ("envoy.thrift_prefix", "thrift.$.**"),
    ("envoy.redis_prefix", "redis.$.**"),
    ("envoy.local_http_ratelimit_prefix", "$.http_local_rate_limit.**"),
    ("envoy.local_network_ratelimit_prefix", "local_rate_limit.$.**"),
    ("envoy.local_listener_ratelimit_prefix", "listener_local_ratelimit.$.**"),
    ("envoy.dns_filter_prefix", "dns_filter.$.**"),
    ("envoy.connection_limit_prefix", "connection_limit.$.**"),
    ("envoy.rbac_prefix", "$.rbac.**"),
    ("envoy.google_grpc_client_prefix", "grpc.$.**"),
];

/// The default extractors, in the order in which they are asked.
pub(super) fn extractors() -> Vec<Extractor> {
    let regexes = BY_REGEX.iter().map(|entry| Extractor {
        tag: entry.tag.to_owned(),
        pattern: Pattern::Regex {
            source: PARTS
                .iter()
                .fold(entry.regex.to_owned(), |regex, (part, text)| regex.replace(part, text)),
            compiled: OnceLock::new(),
            contains: entry.contains,
            except: entry.except,
        },
    });
    let tokens = BY_TOKENS.iter().map(|&(tag, pattern)| Extractor {
        tag: tag.to_owned(),
        pattern: Pattern::Tokens(TokenPattern::new(pattern)),
    });
    regexes.chain(tokens).collect()
}
