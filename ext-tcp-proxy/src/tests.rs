//! The filter with toy clusters around it: what clients and hosts see, what is counted, what is logged.

mod configuration;
mod connecting;
mod early_data;
mod ending;
mod logging;
mod relaying;
mod timeouts;
mod toys;
