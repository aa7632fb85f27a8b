//! What an Underpass extension sees.
