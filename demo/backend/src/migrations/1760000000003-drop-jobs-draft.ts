import type { MigrationInterface, QueryRunner } from 'typeorm';

/** `down` brings the column back, and not what it held. */
export class DropJobsDraft1760000000003 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query('ALTER TABLE jobs DROP COLUMN draft');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('ALTER TABLE jobs ADD COLUMN draft boolean NOT NULL DEFAULT false');
  }
}
