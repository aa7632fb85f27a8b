//! The extensions that speak HTTP, which the feature `http` links.

use underpass_ext_http_buffer as _;
use underpass_ext_http_connection_manager as _;
use underpass_ext_http_cors as _;
use underpass_ext_http_fault as _;
use underpass_ext_http_header_mutation as _;
use underpass_ext_http_header_to_metadata as _;
use underpass_ext_http_health_check as _;
use underpass_ext_http_local_ratelimit as _;
use underpass_ext_http_rbac as _;
use underpass_ext_http_router as _;
use underpass_ext_http_set_filter_state as _;
