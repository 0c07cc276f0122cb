import type { MigrationInterface, QueryRunner } from 'typeorm';

/** PostgreSQL cannot remove an enum value: `down` leaves it behind, used by no row. */
export class AddCancelledStatus1761000000002 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query("ALTER TYPE job_status ADD VALUE IF NOT EXISTS 'cancelled'");
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query("UPDATE jobs SET status = 'done' WHERE status = 'cancelled'");
  }
}
