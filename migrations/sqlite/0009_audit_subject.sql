-- What was done to a thing that is no account: a signing key, by its id.
ALTER TABLE audit ADD COLUMN subject TEXT;
