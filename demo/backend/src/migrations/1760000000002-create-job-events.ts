import type { MigrationInterface, QueryRunner } from 'typeorm';

export class CreateJobEvents1760000000002 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE job_events (
        id      bigserial PRIMARY KEY,
        job_id  integer NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
        message text NOT NULL,
        at      timestamptz NOT NULL DEFAULT now()
      )`);
    await runner.query('CREATE INDEX job_events_job_id ON job_events (job_id)');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE job_events');
  }
}
