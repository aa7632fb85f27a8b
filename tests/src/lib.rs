//! What the end-to-end tests share: the binary under test, origin servers, clients and the admin client.
