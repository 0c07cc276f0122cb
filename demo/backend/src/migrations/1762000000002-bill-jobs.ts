import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Fails half-way, outside a transaction: the new column stays, and no bookkeeping row tells of it. */
export class BillJobs1762000000002 implements MigrationInterface {
  transaction = false;

  async up(runner: QueryRunner): Promise<void> {
    await runner.query('ALTER TABLE jobs ADD COLUMN IF NOT EXISTS invoice_id integer REFERENCES invoices (id)');
    await runner.query('INSERT INTO invoices (total) SELECT sum(amount) - sum(amount) FROM jobs');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('ALTER TABLE jobs DROP COLUMN invoice_id');
  }
}
