import { DataSource } from 'typeorm';
import { Job, JobEvent } from './jobs/job.entity.js';

/** Used by the application and by the typeorm command (`--dataSource dist/data-source.js`) alike. */
export default new DataSource({
  type: 'postgres',
  host: process.env.DATABASE_HOST ?? 'postgres',
  port: Number(process.env.DATABASE_PORT ?? 5432),
  username: process.env.DATABASE_USER ?? 'schedgen',
  password: process.env.DATABASE_PASSWORD,
  database: process.env.DATABASE_NAME ?? 'schedgen',
  entities: [Job, JobEvent],
  migrations: [new URL('./migrations/*.js', import.meta.url).pathname],
  // Each migration in a transaction of its own: a batch that fails leaves those before it applied.
  migrationsTransactionMode: 'each',
  connectTimeoutMS: 5000,
  extra: { max: 20 },
});
