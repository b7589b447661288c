//! What programs print: pipes that outlive a restart, lines with tags, files with rotation.
