//! Floor 0. Tests of the codecs.
