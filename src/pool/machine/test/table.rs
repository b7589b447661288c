//! Every event in every state: what holds after it.
