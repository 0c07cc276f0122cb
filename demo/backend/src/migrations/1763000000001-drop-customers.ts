import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Destructive: `down` brings the shape back, and nothing of what was in it. */
export class DropCustomers1763000000001 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query('ALTER TABLE jobs DROP COLUMN customer');
    await runner.query('DROP TABLE job_events');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query("ALTER TABLE jobs ADD COLUMN customer text NOT NULL DEFAULT ''");
    await runner.query('ALTER TABLE jobs ALTER COLUMN customer DROP DEFAULT');
    await runner.query(`
      CREATE TABLE job_events (
        id      bigserial PRIMARY KEY,
        job_id  integer NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
        message text NOT NULL,
        at      timestamptz NOT NULL DEFAULT now()
      )`);
    await runner.query('CREATE INDEX job_events_job_id ON job_events (job_id)');
  }
}
