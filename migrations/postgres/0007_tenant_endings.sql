-- Being deleted since: no directory shows it any more, and what it owned goes in batches.
ALTER TABLE tenants ADD COLUMN ending_at BIGINT;

-- A token's audience names one app of its tenant.
CREATE UNIQUE INDEX apps_by_audience ON apps (tenant_id, audience);
