//! A macro for structs of stats.

/// Declares a struct of stats whose fields are named after the stats, with `new(&Scope)`.
///
/// ```
/// use underpass_core::stat_group;
/// use underpass_core::stats::Store;
///
/// stat_group! {
///     /// What this listener counts.
///     pub struct ListenerStats {
///         /// Connections accepted.
///         counter downstream_cx_total,
///         /// Connections open.
///         gauge downstream_cx_active,
///         /// How long connections lived.
///         histogram(Milliseconds) downstream_cx_length_ms,
///     }
/// }
///
/// let store = Store::new(1);
/// let stats = ListenerStats::new(&store.scope("listener.0.0.0.0_80"));
/// stats.downstream_cx_total.inc();
/// ```
#[macro_export]
macro_rules! stat_group {
    (
        $(#[$meta:meta])* $visibility:vis struct $name:ident {
            $( $(#[$doc:meta])* $kind:ident $(($unit:ident))? $field:ident ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        $visibility struct $name {
            $( $(#[$doc])* pub $field: $crate::stat_group!(@type $kind), )+
        }

        impl $name {
            /// The stats below `scope`, made where they do not exist yet.
            $visibility fn new(scope: &$crate::stats::Scope) -> Self {
                Self { $( $field: $crate::stat_group!(@new scope $kind $(($unit))? $field), )+ }
            }
        }
    };
    (@type counter) => { $crate::stats::Counter };
    (@type gauge) => { $crate::stats::Gauge };
    (@type histogram) => { $crate::stats::Histogram };
    (@type text_readout) => { $crate::stats::TextReadout };
    (@new $scope:ident counter $field:ident) => { $scope.counter(stringify!($field)) };
    (@new $scope:ident gauge $field:ident) => { $scope.gauge(stringify!($field)) };
    (@new $scope:ident histogram($unit:ident) $field:ident) => {
        $scope.histogram(stringify!($field), $crate::stats::Unit::$unit)
    };
    (@new $scope:ident text_readout $field:ident) => { $scope.text_readout(stringify!($field)) };
}
