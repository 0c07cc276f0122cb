import type { MigrationInterface, QueryRunner } from 'typeorm';

export class IndexJobsByTime1761000000004 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query('CREATE INDEX IF NOT EXISTS jobs_created_at ON jobs (created_at)');
  }

  async down(): Promise<void> {}
}
