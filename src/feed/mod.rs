//! Floor 3. Changes made elsewhere.
