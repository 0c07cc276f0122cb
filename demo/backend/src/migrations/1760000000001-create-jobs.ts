import type { MigrationInterface, QueryRunner } from 'typeorm';

export class CreateJobs1760000000001 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query("CREATE TYPE job_status AS ENUM ('queued', 'done')");
    await runner.query(`
      CREATE TABLE jobs (
        id         serial PRIMARY KEY,
        key        text NOT NULL UNIQUE,
        title      text NOT NULL,
        customer   text NOT NULL,
        amount     integer NOT NULL CHECK (amount >= 0),
        draft      boolean NOT NULL DEFAULT false,
        status     job_status NOT NULL DEFAULT 'queued',
        document   text,
        created_at timestamptz NOT NULL DEFAULT now()
      )`);
    await runner.query("CREATE INDEX jobs_queued ON jobs (id) WHERE status = 'queued'");
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE jobs');
    await runner.query('DROP TYPE job_status');
  }
}
